"""Units, steps and windows of an epoch: every utterance once, and the same on every machine."""

from itertools import accumulate

import numpy as np
import pytest
from helpers.lengths import (
    LENGTHS,
    RATE_HZ,
    SEEDS,
    all_passes,
    all_steps,
    all_units,
    as_lengths,
    common_voice_lengths,
    digest,
    time_of,
    together,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asrscale.data.epoch_plan import find_step, group_windows, plan_epoch, plan_window, window_steps
from asrscale.data.hashing import Ids
from asrscale.data.passes import cut_step, padded_samples
from asrscale.speech.frames import WAV2VEC2

# --- units and steps


@settings(max_examples=150, deadline=None)
@given(LENGTHS, SEEDS, st.integers(0, 5), st.integers(1, 3_200_000), st.integers(1, 9))
def test_an_epoch_has_each_utterance_in_one_unit_and_no_empty_step(
    lengths: Ids, seed: int, epoch: int, batch_samples: int, units_per_step: int
) -> None:
    plan = plan_epoch(lengths, seed=seed, epoch=epoch, batch_samples=batch_samples, units_per_step=units_per_step)
    steps = all_steps(plan)
    assert np.array_equal(together(all_units(plan)), np.arange(len(lengths)))
    assert plan.num_steps == min(-(-int(lengths.sum()) // (batch_samples * units_per_step)), len(lengths))
    assert all(len(units) == units_per_step and len(together(units)) for units in steps)


@settings(max_examples=150, deadline=None)
@given(LENGTHS, st.data(), st.integers(1, 40), st.integers(1, 5))
@example(as_lengths([]), None, 3, 2)
def test_a_window_has_the_promised_steps_whatever_is_left_out(
    lengths: Ids, data: st.DataObject | None, steps: int, units_per_step: int
) -> None:
    used = lengths if data is None else lengths[: data.draw(st.integers(0, len(lengths)))]
    plan = plan_window(used, seed=1, epoch=2, window=3, steps=steps, units_per_step=units_per_step)
    units = all_steps(plan)
    assert plan.num_steps == steps and all(len(of_step) == units_per_step for of_step in units)
    assert np.array_equal(together(all_units(plan)), np.arange(len(used)))
    # As few steps are empty as can be, and they are the last.
    assert [bool(len(together(of_step))) for of_step in units] == [number < len(used) for number in range(steps)]
    for of_step in units:
        ranks = cut_step(of_step, used, memory_cap_samples=RATE_HZ, world_size=2)
        assert np.array_equal(together(all_passes(ranks)), together(of_step))
        assert len(ranks[0]) == len(ranks[1]) > 0


def test_padding_and_overshoot_are_small_at_160_seconds() -> None:
    lengths = common_voice_lengths()
    plan = plan_epoch(lengths, seed=3, epoch=0, batch_samples=160 * RATE_HZ, units_per_step=4)
    units = all_units(plan)
    padded = [padded_samples(unit, lengths) for unit in units]
    assert 1 - lengths.sum() / sum(padded) < 0.01
    # Units take equal time; short utterances, which take less of it for their length, fill more of the 160 s.
    times = [time_of(unit, lengths) for unit in units]
    assert max(times) < 1.03 * np.mean(times) and max(padded) < 1.07 * 160 * RATE_HZ


def test_partners_and_order_change_from_epoch_to_epoch_and_window_to_window() -> None:
    lengths = common_voice_lengths(2_000)
    seen: list[set[frozenset[int]]] = []
    for epoch, window in ((0, 0), (1, 0), (0, 1)):
        plan = plan_window(lengths, seed=3, epoch=epoch, window=window, steps=60, units_per_step=4)
        seen.append({frozenset(unit.tolist()) for unit in all_units(plan)})
    assert len(seen[0] & seen[1]) < 0.2 * len(seen[0]) > len(seen[0] & seen[2])


@settings(max_examples=150, deadline=None)
@given(LENGTHS, SEEDS, st.integers(1, 40), st.integers(1, 9), st.booleans())
def test_each_step_has_its_units_filled_ones_first_whatever_way_they_are_dealt(
    lengths: Ids, seed: int, steps: int, units_per_step: int, even_steps: bool
) -> None:
    plan = plan_window(
        lengths, seed=seed, epoch=1, window=2, steps=steps, units_per_step=units_per_step, even_steps=even_steps
    )
    of_steps = all_steps(plan)
    assert np.array_equal(together(all_units(plan)), np.arange(len(lengths)))
    filled = [[len(unit) > 0 for unit in units] for units in of_steps]
    assert all(of_step == sorted(of_step, reverse=True) for of_step in filled)
    assert [any(of_step) for of_step in filled] == [number < len(lengths) for number in range(steps)]
    counts = [sum(of_step) for of_step in filled if any(of_step)]
    assert not counts or max(counts) - min(counts) <= 1


@pytest.mark.parametrize(("batch_seconds", "world_size"), [(6, 2), (20, 8), (20, 64), (160, 8)])
def test_ranks_wait_little_for_each_other(batch_seconds: int, world_size: int) -> None:
    lengths = common_voice_lengths(60_000)
    frames = WAV2VEC2.num_encoder_frames(lengths)
    balances = {}
    for even_steps in (False, True):
        plan = plan_epoch(
            lengths,
            seed=3,
            epoch=0,
            batch_samples=batch_seconds * RATE_HZ,
            units_per_step=world_size,
            frames=frames,
            even_steps=even_steps,
        )
        busy, longest = 0, 0
        for units in all_steps(plan)[::10]:
            ranks = cut_step(units, lengths, memory_cap_samples=10**9, world_size=world_size, frames=frames)
            times = [sum(time_of(one, lengths) for one in passes) for passes in ranks]
            busy, longest = busy + sum(times), longest + max(times) * world_size
        balances[even_steps] = busy / longest
    assert balances[True] > 0.98 and balances[True] > balances[False] - 0.001


@pytest.mark.parametrize(("batch_seconds", "units_per_step"), [(20, 8), (160, 4), (160, 8)])
def test_the_order_of_steps_says_nothing_of_their_time(batch_seconds: int, units_per_step: int) -> None:
    lengths = common_voice_lengths(60_000)
    frames = WAV2VEC2.num_encoder_frames(lengths)
    correlations = []
    for epoch in range(8):
        plan = plan_epoch(
            lengths,
            seed=3,
            epoch=epoch,
            batch_samples=batch_seconds * RATE_HZ,
            units_per_step=units_per_step,
            frames=frames,
        )
        times = [sum(time_of(unit, lengths) for unit in units) for units in all_steps(plan)]
        correlations.append(np.corrcoef(np.arange(len(times)), np.argsort(np.argsort(times)))[0, 1])
    assert abs(np.mean(correlations)) < 0.08


def test_a_step_mixes_lengths_and_does_not_get_the_same_units_in_each_epoch() -> None:
    lengths = common_voice_lengths(20_000)
    frames = WAV2VEC2.num_encoder_frames(lengths)
    settings = dict(seed=3, batch_samples=20 * RATE_HZ, units_per_step=8, frames=frames)
    steps = [all_steps(plan_epoch(lengths, epoch=epoch, **settings)) for epoch in (0, 1)]
    means = [[lengths[unit].mean() for unit in units] for units in steps[0] if all(map(len, units))]
    assert np.median([max(of_step) / min(of_step) for of_step in means]) > 2
    step_of = np.empty((2, len(lengths)), np.int64)
    for epoch, of_epoch in enumerate(steps):
        for number, units in enumerate(of_epoch):
            step_of[epoch, together(units)] = number
    of_one = np.unique(step_of[0], return_counts=True)[1]
    of_both = np.unique(step_of, axis=1, return_counts=True)[1]
    assert (of_both * (of_both - 1)).sum() < 0.2 * (of_one * (of_one - 1)).sum()


# --- windows


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=80).map(as_lengths), SEEDS, st.integers(1, 10**10))
def test_each_shard_is_in_one_window(shard_samples: Ids, seed: int, window_samples: int) -> None:
    windows = group_windows(shard_samples, seed=seed, window_samples=window_samples)
    assert np.array_equal(together(list(windows)), np.arange(len(shard_samples)))
    assert all(np.array_equal(shards, np.unique(shards)) and len(shards) for shards in windows)
    held = [int(shard_samples[shards].sum()) for shards in windows]
    assert max(held) < max(2 * window_samples, int(shard_samples.max())) + int(shard_samples.max()) or not sum(held)
    if sum(held) < 2 * window_samples:
        assert len(windows) == 1


def test_windows_are_even_and_drawn_at_random() -> None:
    windows = group_windows(np.full(1_000, 3_600 * RATE_HZ), seed=1, window_samples=20 * 3_600 * RATE_HZ)
    assert {len(shards) for shards in windows} == {20} and len(windows) == 50
    assert any(np.ptp(shards) > 500 for shards in windows)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=20).filter(any).map(as_lengths), SEEDS)
def test_each_step_of_an_epoch_is_found_in_one_place(steps: Ids, seed: int) -> None:
    per_epoch = int(steps.sum())
    for epoch in (0, 3):
        found = [find_step(steps, epoch * per_epoch + number, seed=seed) for number in range(per_epoch)]
        assert {place.epoch for place in found} == {epoch}
        # Window after window, each whole, from its first step to its last.
        order = list(dict.fromkeys(place.window for place in found))
        expected = [(window, offset) for window in order for offset in range(steps[window])]
        assert [(place.window, place.offset) for place in found] == expected
        assert sorted(order) == np.flatnonzero(steps).tolist()


def test_windows_come_in_another_order_in_each_epoch() -> None:
    steps = np.full(30, 1)
    windows = [find_step(steps, number, seed=7).window for number in range(4 * 30)]
    orders = {tuple(windows[30 * epoch : 30 * (epoch + 1)]) for epoch in range(4)}
    assert len(orders) == 4


@settings(max_examples=40, deadline=None)
@given(
    st.lists(LENGTHS, min_size=1, max_size=12),
    SEEDS,
    st.integers(1, 400_000_000),
    st.integers(1, 3_200_000),
    st.integers(1, 5),
    st.integers(1, 9),
)
def test_an_epoch_of_windows_visits_every_utterance_once(
    shards: list[Ids], seed: int, window_samples: int, batch_samples: int, units_per_step: int, world_size: int
) -> None:
    samples = as_lengths([int(lengths.sum()) for lengths in shards])
    utterances = as_lengths([len(lengths) for lengths in shards])
    windows = group_windows(samples, seed=seed, window_samples=window_samples)
    steps = window_steps(windows, samples, utterances, batch_samples=batch_samples, units_per_step=units_per_step)
    first_of_shard = [0, *accumulate(utterances.tolist())]
    visited: list[int] = []
    for number in range(int(steps.sum())):
        epoch, window, offset = find_step(steps, number, seed=seed)
        if offset == 0:
            lengths = np.concatenate([shards[shard] for shard in windows[window]])
            own_names = [first_of_shard[shard] + np.arange(len(shards[shard])) for shard in windows[window]]
            names = np.concatenate(own_names)
            plan = plan_window(
                lengths, seed=seed, epoch=epoch, window=window, steps=int(steps[window]), units_per_step=units_per_step
            )
        ranks = cut_step(plan.step(offset), lengths, memory_cap_samples=640_000, world_size=world_size)
        own = together(all_passes(ranks))
        assert len(own)
        visited += names[own].tolist()
    assert sorted(visited) == list(range(int(utterances.sum())))


def test_one_window_is_the_epoch_plan() -> None:
    lengths = common_voice_lengths(500)
    windows = (np.array([0]),)
    samples, utterances = np.array([lengths.sum()]), np.array([500])
    steps = window_steps(windows, samples, utterances, batch_samples=640_000, units_per_step=2)
    assert find_step(steps, 2 * int(steps[0]) + 1, seed=4) == (2, 0, 1)
    whole = plan_epoch(lengths, seed=4, epoch=2, batch_samples=640_000, units_per_step=2)
    assert steps.tolist() == [whole.num_steps]
    window = plan_window(lengths, seed=4, epoch=2, window=0, steps=int(steps[0]), units_per_step=2)
    assert digest(whole.utterances, whole.unit_bounds) == digest(window.utterances, window.unit_bounds)


# --- the same on every machine


def test_the_plan_is_the_same_on_every_machine() -> None:
    lengths = np.arange(1_000, dtype=np.int64) * 37 % 160_000 + 16_000
    for even_steps, expected in ((True, "0faee0e47d698a78"), (False, "9b6871a64515fc35")):
        plan = plan_epoch(lengths, seed=7, epoch=2, batch_samples=640_000, units_per_step=4, even_steps=even_steps)
        assert digest(plan.utterances, plan.unit_bounds) == expected
    windows = group_windows(lengths, seed=7, window_samples=9_000_000)
    assert [len(shards) for shards in windows] == [336, 338, 326] and digest(*windows) == "79c75d5b8cec7ad4"
    places = [np.array(find_step(np.arange(20), number, seed=7)) for number in range(0, 900, 7)]
    assert digest(*places) == "93d5cdcc4ef84974"
