"""One step cut into the passes of each rank."""

import numpy as np
import pytest
from helpers.lengths import (
    LENGTHS,
    RATE_HZ,
    SEEDS,
    all_passes,
    all_steps,
    as_lengths,
    common_voice_lengths,
    digest,
    time_of,
    together,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from asrscale.data.epoch_plan import plan_epoch
from asrscale.data.hashing import Ids
from asrscale.data.passes import cut_step, padded_samples, pass_time
from asrscale.speech.frames import WAV2VEC2

WORLD_SIZES = (1, 2, 3, 4, 8, 64)


@settings(max_examples=150, deadline=None)
@given(LENGTHS, SEEDS, st.integers(1, 9), st.integers(1, 3_200_000), st.integers(1, 70), st.integers(1, 4_000_000))
def test_ranks_share_a_step_exactly_under_any_cap(
    lengths: Ids, seed: int, units_per_step: int, batch_samples: int, world_size: int, cap_samples: int
) -> None:
    plan = plan_epoch(lengths, seed=seed, epoch=0, batch_samples=batch_samples, units_per_step=units_per_step)
    visited = []
    for units in all_steps(plan)[:20]:
        ranks = cut_step(units, lengths, memory_cap_samples=cap_samples, world_size=world_size)
        passes = all_passes(ranks)
        visited += passes
        assert len(ranks) == world_size and len({len(of_rank) for of_rank in ranks}) == 1 and ranks[0]
        assert np.array_equal(together(passes), together(units))
        assert all(len(one) <= 1 or padded_samples(one, lengths) <= cap_samples for one in passes)
        for of_rank in ranks:
            times = [time_of(utterances, lengths) for utterances in of_rank]
            assert times == sorted(times, reverse=True)
    if plan.num_steps <= 20:
        assert np.array_equal(together(visited), np.arange(len(lengths)))


def test_any_number_of_ranks_visits_the_same_utterances_in_the_same_steps() -> None:
    lengths = common_voice_lengths(3_000)
    plan = plan_epoch(lengths, seed=5, epoch=1, batch_samples=40 * RATE_HZ, units_per_step=4)
    visits: dict[int, list[list[int]]] = {}
    for world_size in WORLD_SIZES:
        cuts = [
            cut_step(units, lengths, memory_cap_samples=30 * RATE_HZ, world_size=world_size)
            for units in all_steps(plan)
        ]
        visits[world_size] = [together(all_passes(ranks)).tolist() for ranks in cuts]
    assert all(visits[world_size] == visits[1] for world_size in WORLD_SIZES)
    assert sorted(number for step in visits[1] for number in step) == list(range(3_000))


@pytest.mark.parametrize("cap_seconds", [40, 160, 1_000])
@pytest.mark.parametrize(("world_size", "units_per_step"), [(8, 8), (8, 9), (8, 20), (64, 64), (64, 65)])
def test_ranks_have_equal_work_at_160_seconds(world_size: int, units_per_step: int, cap_seconds: int) -> None:
    lengths = common_voice_lengths(140_000)
    frames = WAV2VEC2.num_encoder_frames(lengths)
    plan = plan_epoch(
        lengths, seed=3, epoch=0, batch_samples=160 * RATE_HZ, units_per_step=units_per_step, frames=frames
    )
    step, synchronous, padded = [], [], []
    for units in all_steps(plan)[:5]:
        ranks = cut_step(units, lengths, memory_cap_samples=cap_seconds * RATE_HZ, world_size=world_size, frames=frames)
        times = np.array([[time_of(one, lengths) for one in of_rank] for of_rank in ranks])
        step.append(times.sum(axis=1).mean() / times.sum(axis=1).max())
        synchronous.append(times.sum() / world_size / times.max(axis=0).sum())  # all wait at every pass
        audio = lengths[together(units)].sum()
        padded.append(1 - audio / sum(padded_samples(one, lengths) for one in all_passes(ranks)))
    assert np.mean(step) >= 0.98
    # Units that do not divide among the ranks are cut less evenly where that saves masks.
    assert np.mean(synchronous) >= (0.97 if units_per_step % world_size == 0 else 0.96)
    assert np.mean(padded) < (0.01 if units_per_step % world_size == 0 or cap_seconds == 40 else 0.03)


def test_passes_are_cut_along_units_rather_than_across_them_where_that_saves_masks() -> None:
    units = [np.arange(30), np.arange(30, 60), np.arange(60, 90)]
    lengths = np.repeat(as_lengths([80_000, 80_100, 80_200]), 30)
    found = {}
    for name, frames in (("equal", np.repeat(as_lengths([250, 251, 252]), 30)), ("all alike", np.full(90, 250))):
        [passes] = cut_step(units, lengths, memory_cap_samples=45 * 80_200, world_size=1, frames=frames)
        found[name] = [len(np.unique(frames[one])) for one in passes]
    # Two passes instead of three are worth a few samples of padding, and no mask.
    assert found == {"equal": [1, 1, 1], "all alike": [1, 1]}


def test_a_rank_with_nothing_to_do_gets_empty_passes() -> None:
    ranks = cut_step([np.array([0])], np.array([16_000]), memory_cap_samples=16_000, world_size=3)
    assert [[len(utterances) for utterances in passes] for passes in ranks] == [[1], [0], [0]]
    nobody = np.zeros(0, np.int64)
    ranks = cut_step([nobody, nobody], np.array([16_000]), memory_cap_samples=16_000, world_size=2)
    assert [[len(utterances) for utterances in passes] for passes in ranks] == [[0], [0]]


def test_a_pass_is_as_long_as_its_longest_utterance() -> None:
    lengths = as_lengths([16_000, 160_000, 32_000])
    for utterances in (as_lengths([0, 1, 2]), as_lengths([2]), as_lengths([])):
        assert pass_time(utterances, lengths) == time_of(utterances, lengths)
    assert padded_samples(as_lengths([0, 1, 2]), lengths) == 480_000
    assert padded_samples(as_lengths([]), lengths) == 0


def test_the_passes_are_the_same_on_every_machine() -> None:
    lengths = np.arange(1_000, dtype=np.int64) * 37 % 160_000 + 16_000
    plan = plan_epoch(lengths, seed=7, epoch=2, batch_samples=640_000, units_per_step=4)
    ranks = cut_step(plan.step(3), lengths, memory_cap_samples=320_000, world_size=3)
    assert digest(*all_passes(ranks)) == "559d0b795294842e"
