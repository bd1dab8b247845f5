import hashlib
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asrscale.data.epoch_plan import EpochPlan, find_step, group_windows, plan_epoch, plan_window, window_steps
from asrscale.data.even_cuts import cut_evenly, relative_time
from asrscale.data.hashing import Ids, hash_keys, splitmix64
from asrscale.data.passes import cut_step, padded_samples

RATE_HZ = 16_000
WORLD_SIZES = (1, 2, 3, 4, 8, 64)


def as_lengths(samples: list[int]) -> Ids:
    return np.array(samples, np.int64)


# Speech, and what speech is not: lengths of a few samples, all alike, a thousandfold apart.
LENGTHS = st.one_of(
    st.lists(st.integers(1_600, 320_000), min_size=1, max_size=300),
    st.lists(st.sampled_from([1, 7, 16_000, 16_000_000]), min_size=1, max_size=60),
    st.integers(1, 200).map(lambda count: [48_000] * count),
).map(as_lengths)
SEEDS = st.integers(-1, 2**64)


def common_voice_lengths(count: int = 20_000) -> Ids:
    """Like Common Voice v1's: 5 s in the mean, 1 to 15 s."""
    spread = np.random.default_rng(0).lognormal(1.5, 0.4, count)
    return (np.clip(spread, 1, 15) * RATE_HZ).astype(np.int64)


def together(units: list[Ids]) -> Ids:
    return np.sort(np.concatenate([*units, np.zeros(0, np.int64)]))


def all_steps(plan: EpochPlan) -> list[list[Ids]]:
    return [plan.step(number) for number in range(plan.num_steps)]


def pass_time(utterances: Ids, lengths: Ids) -> int:
    return len(utterances) * int(relative_time(lengths[utterances].max())) if len(utterances) else 0


def digest(*arrays: Ids) -> str:
    return hashlib.sha256(b"".join(array.astype("<i8").tobytes() for array in arrays)).hexdigest()[:16]


def test_splitmix64_gives_the_published_sequence() -> None:
    # The reference generator, seeded with 1234567, adds the golden gamma before each output.
    state = np.uint64(1234567)
    first = splitmix64(np.array([state]))
    assert int(first[0]) == 6457827717110365317


def test_hash_keys_differ_by_salt() -> None:
    assert len({int(hash_keys(1, *salts)[0]) for salts in ((1,), (2,), (1, 2), (2, 1), (-1,))}) == 5


# --- units and steps


@settings(max_examples=150, deadline=None)
@given(LENGTHS, SEEDS, st.integers(0, 5), st.integers(1, 3_200_000), st.integers(1, 9))
def test_an_epoch_has_each_utterance_in_one_unit_and_no_empty_step(
    lengths: Ids, seed: int, epoch: int, batch_samples: int, units_per_step: int
) -> None:
    plan = plan_epoch(lengths, seed=seed, epoch=epoch, batch_samples=batch_samples, units_per_step=units_per_step)
    steps = all_steps(plan)
    assert np.array_equal(together([unit for units in steps for unit in units]), np.arange(len(lengths)))
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
    units = [plan.step(number) for number in range(steps)]
    assert plan.num_steps == steps and all(len(of_step) == units_per_step for of_step in units)
    assert np.array_equal(together([unit for of_step in units for unit in of_step]), np.arange(len(used)))
    # As few steps are empty as can be, and they are the last.
    assert [bool(len(together(of_step))) for of_step in units] == [number < len(used) for number in range(steps)]
    for of_step in units:
        passes = cut_step(of_step, used, memory_cap_samples=RATE_HZ, world_size=2)
        assert np.array_equal(together([*passes[0], *passes[1]]), together(of_step))
        assert len(passes[0]) == len(passes[1]) > 0


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 40), max_size=12).map(sorted), st.integers(1, 8))
def test_the_dearest_unit_is_as_cheap_as_any_cut_allows(times: list[int], count: int) -> None:
    ends = cut_evenly(as_lengths(times), count).tolist()
    costs = [(end - start) * times[end - 1] for start, end in zip([0, *ends], ends, strict=False) if end > start]
    assert ends == sorted(ends) and len(ends) == count and len(costs) == min(count, len(times))

    best = {0: 0}  # of all cuts of the first n times into `used` units, the cheapest dearest unit
    for used in range(1, len(costs) + 1):
        best = {
            end: min(max(best[start], (end - start) * times[end - 1]) for start in best if start < end)
            for end in range(used, len(times) + 1)
        }
    assert max(costs, default=0) == best[len(times)]


def test_padding_and_overshoot_are_small_at_160_seconds() -> None:
    lengths = common_voice_lengths()
    plan = plan_epoch(lengths, seed=3, epoch=0, batch_samples=160 * RATE_HZ, units_per_step=4)
    units = [unit for units in all_steps(plan) for unit in units]
    padded = [padded_samples(unit, lengths) for unit in units]
    assert 1 - lengths.sum() / sum(padded) < 0.01
    # Units take equal time; short utterances, which take less of it for their length, fill more of the 160 s.
    times = [pass_time(unit, lengths) for unit in units]
    assert max(times) < 1.03 * np.mean(times) and max(padded) < 1.07 * 160 * RATE_HZ


def test_partners_and_order_change_from_epoch_to_epoch_and_window_to_window() -> None:
    lengths = common_voice_lengths(2_000)
    seen: list[set[frozenset[int]]] = []
    for epoch, window in ((0, 0), (1, 0), (0, 1)):
        plan = plan_window(lengths, seed=3, epoch=epoch, window=window, steps=60, units_per_step=4)
        seen.append({frozenset(unit.tolist()) for units in all_steps(plan) for unit in units})
    assert len(seen[0] & seen[1]) < 0.2 * len(seen[0]) > len(seen[0] & seen[2])


# --- passes


@settings(max_examples=150, deadline=None)
@given(LENGTHS, SEEDS, st.integers(1, 9), st.integers(1, 3_200_000), st.integers(1, 70), st.integers(1, 4_000_000))
def test_ranks_share_a_step_exactly_under_any_cap(
    lengths: Ids, seed: int, units_per_step: int, batch_samples: int, world_size: int, cap_samples: int
) -> None:
    plan = plan_epoch(lengths, seed=seed, epoch=0, batch_samples=batch_samples, units_per_step=units_per_step)
    visited = []
    for units in all_steps(plan)[:20]:
        ranks = cut_step(units, lengths, memory_cap_samples=cap_samples, world_size=world_size)
        passes = [utterances for of_rank in ranks for utterances in of_rank]
        visited += passes
        assert len(ranks) == world_size and len({len(of_rank) for of_rank in ranks}) == 1 and ranks[0]
        assert np.array_equal(together(passes), together(units))
        assert all(len(one) <= 1 or padded_samples(one, lengths) <= cap_samples for one in passes)
        for of_rank in ranks:
            times = [pass_time(utterances, lengths) for utterances in of_rank]
            assert times == sorted(times, reverse=True)
    if plan.num_steps <= 20:
        assert np.array_equal(together(visited), np.arange(len(lengths)))


def test_any_number_of_ranks_visits_the_same_utterances_in_the_same_steps() -> None:
    lengths = common_voice_lengths(3_000)
    plan = plan_epoch(lengths, seed=5, epoch=1, batch_samples=40 * RATE_HZ, units_per_step=4)
    visits = {
        world_size: [
            together([one for of_rank in ranks for one in of_rank]).tolist()
            for units in all_steps(plan)
            for ranks in [cut_step(units, lengths, memory_cap_samples=30 * RATE_HZ, world_size=world_size)]
        ]
        for world_size in WORLD_SIZES
    }
    assert all(visits[world_size] == visits[1] for world_size in WORLD_SIZES)
    assert sorted(number for step in visits[1] for number in step) == list(range(3_000))


@pytest.mark.parametrize("cap_seconds", [40, 160, 1_000])
@pytest.mark.parametrize(("world_size", "units_per_step"), [(8, 8), (8, 9), (8, 20), (64, 64), (64, 65)])
def test_ranks_have_equal_work_at_160_seconds(world_size: int, units_per_step: int, cap_seconds: int) -> None:
    lengths = common_voice_lengths(140_000)
    plan = plan_epoch(lengths, seed=3, epoch=0, batch_samples=160 * RATE_HZ, units_per_step=units_per_step)
    step, synchronous, padded = [], [], []
    for units in all_steps(plan)[:5]:
        ranks = cut_step(units, lengths, memory_cap_samples=cap_seconds * RATE_HZ, world_size=world_size)
        times = np.array([[pass_time(one, lengths) for one in of_rank] for of_rank in ranks])
        step.append(times.sum(axis=1).mean() / times.sum(axis=1).max())
        synchronous.append(times.sum() / world_size / times.max(axis=0).sum())  # all wait at every pass
        audio = lengths[together(units)].sum()
        padded.append(1 - audio / sum(padded_samples(one, lengths) for of_rank in ranks for one in of_rank))
    assert np.mean(step) >= 0.98
    assert np.mean(synchronous) >= 0.97
    assert np.mean(padded) < (0.01 if units_per_step % world_size == 0 or cap_seconds == 40 else 0.03)


def test_a_rank_with_nothing_to_do_gets_empty_passes() -> None:
    ranks = cut_step([np.array([0])], np.array([16_000]), memory_cap_samples=16_000, world_size=3)
    assert [[len(utterances) for utterances in passes] for passes in ranks] == [[1], [0], [0]]
    nobody = np.zeros(0, np.int64)
    ranks = cut_step([nobody, nobody], np.array([16_000]), memory_cap_samples=16_000, world_size=2)
    assert [[len(utterances) for utterances in passes] for passes in ranks] == [[0], [0]]


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
        assert {place[0] for place in found} == {epoch}
        # Window after window, each whole, from its first step to its last.
        order = list(dict.fromkeys(window for _, window, _ in found))
        assert [place[1:] for place in found] == [(w, offset) for w in order for offset in range(steps[w])]
        assert sorted(order) == np.flatnonzero(steps).tolist()


def test_windows_come_in_another_order_in_each_epoch() -> None:
    steps = np.full(30, 1)
    orders = [tuple(find_step(steps, 30 * epoch + number, seed=7)[1] for number in range(30)) for epoch in range(4)]
    assert len(set(orders)) == 4


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
    samples, utterances = as_lengths([int(s.sum()) for s in shards]), as_lengths([len(s) for s in shards])
    windows = group_windows(samples, seed=seed, window_samples=window_samples)
    steps = window_steps(windows, samples, utterances, batch_samples, units_per_step)
    first_of_shard = [0, *accumulate(utterances.tolist())]
    visited: list[int] = []
    for number in range(int(steps.sum())):
        epoch, window, offset = find_step(steps, number, seed=seed)
        if offset == 0:
            lengths = np.concatenate([shards[shard] for shard in windows[window]])
            names = np.concatenate([first_of_shard[shard] + np.arange(len(shards[shard])) for shard in windows[window]])
            plan = plan_window(
                lengths, seed=seed, epoch=epoch, window=window, steps=int(steps[window]), units_per_step=units_per_step
            )
        ranks = cut_step(plan.step(offset), lengths, memory_cap_samples=640_000, world_size=world_size)
        own = together([one for of_rank in ranks for one in of_rank])
        assert len(own)
        visited += names[own].tolist()
    assert sorted(visited) == list(range(int(utterances.sum())))


def test_one_window_is_the_epoch_plan() -> None:
    lengths = common_voice_lengths(500)
    steps = window_steps((np.array([0]),), np.array([lengths.sum()]), np.array([500]), 640_000, 2)
    assert find_step(steps, 2 * int(steps[0]) + 1, seed=4) == (2, 0, 1)
    whole = plan_epoch(lengths, seed=4, epoch=2, batch_samples=640_000, units_per_step=2)
    assert steps.tolist() == [whole.num_steps]
    window = plan_window(lengths, seed=4, epoch=2, window=0, steps=int(steps[0]), units_per_step=2)
    assert digest(whole.utterances, whole.unit_bounds) == digest(window.utterances, window.unit_bounds)


# --- the same on every machine


def test_the_plan_is_the_same_on_every_machine() -> None:
    lengths = np.arange(1_000, dtype=np.int64) * 37 % 160_000 + 16_000
    plan = plan_epoch(lengths, seed=7, epoch=2, batch_samples=640_000, units_per_step=4)
    assert digest(plan.utterances, plan.unit_bounds) == "9b6871a64515fc35"
    ranks = cut_step(plan.step(3), lengths, memory_cap_samples=320_000, world_size=3)
    assert digest(*[one for of_rank in ranks for one in of_rank]) == "76f0e962c1a95571"
    windows = group_windows(lengths, seed=7, window_samples=9_000_000)
    assert [len(shards) for shards in windows] == [336, 338, 326] and digest(*windows) == "79c75d5b8cec7ad4"
    assert (
        digest(*[np.array(find_step(np.arange(20), number, seed=7)) for number in range(0, 900, 7)])
        == "93d5cdcc4ef84974"
    )
