"""The plan of a run as text."""

import re
from pathlib import Path

import numpy as np
import pytest
from helpers.lengths import as_lengths
from helpers.plans import plan_in_windows, plan_of_mix

from asrscale.data.plan_summary import describe_plan, measure_steps
from asrscale.model.building import build_recognizer


@pytest.mark.parametrize("windows", [1, 3])
def test_the_plan_is_described(tone_shards: Path, monkeypatch: pytest.MonkeyPatch, windows: int) -> None:
    plan = plan_in_windows(tone_shards / "train", build_recognizer("tiny", ""), monkeypatch, windows=windows)
    text = describe_plan(plan, world_size=2, cap_samples=48_000)
    assert f"{plan.steps_per_epoch} steps an epoch in {len(plan.windows)} windows, 2 units a step" in text
    found = re.search(r"padding (\S+)%, (\d+)% of the audio in passes without padded frames, mean/max .* (\S+)\n", text)
    padding, equal_frames, balance = map(float, found.groups())
    assert 0 <= padding < 30 and 0 <= equal_frames <= 100 and 0.5 < balance <= 1
    assert len(text.splitlines()) == 9


def test_the_plan_of_a_mix_has_a_line_about_it(tone_shards: Path) -> None:
    train = [str(tone_shards / "train"), f"{tone_shards / 'valid'}=2"]
    plan = plan_of_mix(train, build_recognizer("tiny", ""))
    mix, headline, *_ = describe_plan(plan, world_size=1, cap_samples=48_000).splitlines()
    assert re.fullmatch(r"mix: train [\d.]+ h × 1, valid [\d.]+ h × 2 = [\d.]+ h: [\d.]+ h an epoch", mix)
    alone = plan_of_mix(train[:1], build_recognizer("tiny", ""))
    assert (
        headline.startswith(f"{plan.steps_per_epoch} steps an epoch") and plan.steps_per_epoch > alone.steps_per_epoch
    )
    nobody = as_lengths([])  # where none of a few is in an epoch
    nothing = measure_steps([[]], nobody, nobody, world_size=1, cap_samples=1)
    assert (nothing.padding, nothing.balance) == (0, 1)


def test_padding_and_balance_are_of_the_passes_that_ranks_run() -> None:
    lengths = as_lengths([16_000, 16_000, 32_000])
    frames = lengths // 320
    alone = measure_steps([[np.array([0, 1]), np.array([2])]], lengths, frames, world_size=1, cap_samples=32_000)
    assert alone.padding == 0 and alone.balance == 1 and alone.equal_frames == 1
    padded = measure_steps(
        [[np.array([0, 1])]], as_lengths([16_000, 20_000]), as_lengths([50, 62]), world_size=1, cap_samples=64_000
    )
    assert padded.padding == 1 - 36_000 / 40_000 and padded.equal_frames == 0
    # A few samples of padding, and no frame of it.
    nearly = measure_steps(
        [[np.array([0, 1])]], as_lengths([16_000, 16_100]), as_lengths([50, 50]), world_size=1, cap_samples=64_000
    )
    assert 0 < nearly.padding < 0.01 and nearly.equal_frames == 1
    # One of two ranks has nothing to do.
    unbalanced = measure_steps([[np.array([0])]], lengths, frames, world_size=2, cap_samples=64_000)
    assert unbalanced.padding == 0 and unbalanced.balance == 0.5
