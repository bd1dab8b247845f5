"""What is shown while a run trains."""

from pathlib import Path

import pytest
from helpers.contexts import make_context

from asrscale.common.progress import progress
from asrscale.training.checkpoint import RunState
from asrscale.training.run_progress import RunProgress


def test_loss_best_rate_speed_and_time_left_are_shown_as_they_become_known(
    tone_shards: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asrscale.common.progress.PLAIN_LINE_SECONDS", 0.0)
    context = make_context(tone_shards, eval_steps=20, save_steps=100)  # 40 steps
    with progress(40, "training", "steps", shows_time_left=False) as bar:
        shown = RunProgress(context, bar, RunState())
        for step in range(1, 6):
            shown.step_done(RunState(step=step), 1.0, {})
        before = capsys.readouterr().err
        assert "left" not in before and "takes another" not in before
        shown.evaluated(RunState(step=5, best=(0.25, 0.1, 1.0), best_step=5), 10.0)
        values = {"train/loss": 0.5, "train/audio_seconds_per_second": 1234.5}
        state = RunState(step=6)  # the loop's, which knows of no evaluation
        shown.step_done(state, 1.0, values)
        shown.step_done(state, 1.0, {})
    after_evaluation, *lines = capsys.readouterr().err.splitlines()
    assert after_evaluation == "training: 5/40 steps in 0 s  best WER 25.00%"
    assert lines[0] == "at the pace of the first steps, the run takes another 64 s"  # 34 steps and 3 evaluations
    assert lines[1].endswith("  64 s left, loss 0.500, best WER 25.00%, 1,234× real time")
    assert lines[2].endswith("loss 0.500, best WER 25.00%, 1,234× real time")  # until the next line of metrics
    assert sum("takes another" in line for line in lines) == 1


def test_a_loss_that_is_not_known_is_left_out(tone_shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    context = make_context(tone_shards)
    with progress(1, "training", "steps", shows_time_left=False) as bar:
        RunProgress(context, bar, RunState()).step_done(RunState(step=1), 1.0, {"train/loss": None})
    assert "loss" not in capsys.readouterr().err


def test_a_run_that_goes_on_knows_its_best(tone_shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    context = make_context(tone_shards)
    state = RunState(step=1, best=(0.125, 0.1, 1.0), best_step=1)
    with progress(1, "training", "steps", shows_time_left=False) as bar:
        RunProgress(context, bar, state).step_done(state, 1.0, {})
    assert "best WER 12.50%" in capsys.readouterr().err
