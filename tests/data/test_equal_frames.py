"""Units whose utterances have equally many frames: how much of the audio is in them, and what that costs."""

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
from hypothesis import given, settings
from hypothesis import strategies as st

from asrscale.data.epoch_plan import EpochPlan, plan_epoch, plan_window
from asrscale.data.hashing import Ids
from asrscale.data.passes import cut_step, padded_samples
from asrscale.speech.frames import WAV2VEC2

STEPS = 250  # about so many are measured of a plan


def planned(lengths: Ids, batch_seconds: int, *, equal: bool = True, epoch: int = 0) -> EpochPlan:
    frames = WAV2VEC2.num_encoder_frames(lengths) if equal else None
    batch_samples = batch_seconds * RATE_HZ
    return plan_epoch(lengths, seed=3, epoch=epoch, batch_samples=batch_samples, units_per_step=8, frames=frames)


def meet_again(lengths: Ids, batch_seconds: int, *, equal: bool) -> float:
    """The share of pairs of a unit that are a pair in the next epoch, too."""
    units = np.empty((2, len(lengths)), np.int64)
    for epoch in range(2):
        for number, unit in enumerate(all_units(planned(lengths, batch_seconds, equal=equal, epoch=epoch))):
            units[epoch, unit] = number
    of_one = np.unique(units[0], return_counts=True)[1]
    of_both = np.unique(units, axis=1, return_counts=True)[1]
    return float((of_both * (of_both - 1)).sum() / (of_one * (of_one - 1)).sum())


@settings(max_examples=150, deadline=None)
@given(LENGTHS, SEEDS, st.integers(1, 40), st.integers(1, 5), st.sampled_from([1, 320, 8_000]))
def test_every_utterance_is_in_one_unit_and_no_unit_is_empty_that_need_not_be(
    lengths: Ids, seed: int, steps: int, units_per_step: int, frame_samples: int
) -> None:
    frames = lengths // frame_samples
    plan = plan_window(lengths, seed=seed, epoch=1, window=2, steps=steps, units_per_step=units_per_step, frames=frames)
    units = all_units(plan)
    assert np.array_equal(together(units), np.arange(len(lengths)))
    assert sum(len(unit) > 0 for unit in units) == min(len(lengths), steps * units_per_step)


@pytest.mark.parametrize(("batch_seconds", "least"), [(20, 0.985), (40, 0.98), (160, 0.945)])
@pytest.mark.parametrize("world_size", [1, 8])
def test_nearly_all_audio_is_in_passes_without_padded_frames_within_the_bounds_of_before(
    batch_seconds: int, least: float, world_size: int
) -> None:
    lengths = common_voice_lengths(200_000)
    frames = WAV2VEC2.num_encoder_frames(lengths)
    plan = planned(lengths, batch_seconds)
    cap_samples = (batch_seconds if world_size == 1 else 1_000) * RATE_HZ
    equal, audio, padded, busy, longest = 0, 0, 0, 0, 0
    for units in all_steps(plan)[:: max(1, plan.num_steps // STEPS)]:
        ranks = cut_step(units, lengths, memory_cap_samples=cap_samples, world_size=world_size, frames=frames)
        times = [sum(time_of(one, lengths) for one in passes) for passes in ranks]
        busy, longest = busy + sum(times), longest + max(times) * world_size
        for one in filter(len, all_passes(ranks)):
            audio += lengths[one].sum()
            padded += padded_samples(one, lengths)
            equal += lengths[one].sum() * (np.ptp(frames[one]) == 0)
    assert equal / audio > least
    assert 1 - audio / padded < 0.004  # 0.3 to 0.4 % where units are cut along the lengths alone
    if batch_seconds == 160:
        assert busy / longest > 0.98


@pytest.mark.parametrize(("count", "batch_seconds"), [(200_000, 160), (20_000, 160), (20_000, 20), (2_000, 20)])
def test_partners_change_as_they_did(count: int, batch_seconds: int) -> None:
    lengths = common_voice_lengths(count)
    before, now = (meet_again(lengths, batch_seconds, equal=equal) for equal in (False, True))
    assert now < 1.5 * before + 0.01


def test_where_each_length_is_rare_units_are_cut_along_the_lengths() -> None:
    lengths = common_voice_lengths(300)
    assert np.array_equal(planned(lengths, 40).utterances, planned(lengths, 40, equal=False).utterances)


def test_utterances_of_one_length_are_cut_evenly() -> None:
    lengths = as_lengths([48_000] * 1_000)
    sizes = [len(unit) for unit in all_units(planned(lengths, 40))]
    assert sum(sizes) == 1_000 and max(sizes) - min(sizes) <= 1


def test_the_plan_is_the_same_on_every_machine() -> None:
    lengths = np.arange(20_000, dtype=np.int64) * 7_919 % 9_000 + 30_000
    plan = planned(lengths, 40, epoch=2)
    assert digest(plan.utterances, plan.unit_bounds) == "f6883b74c32eee64"
    units = plan.step(3)
    ranks = cut_step(
        units, lengths, memory_cap_samples=320_000, world_size=3, frames=WAV2VEC2.num_encoder_frames(lengths)
    )
    assert digest(*all_passes(ranks)) == "5211893144810ff4"
