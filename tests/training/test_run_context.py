"""When a run is over and what its learning rate is; tests/training/test_loop.py trains."""

from pathlib import Path

import pytest
from helpers.contexts import make_context

from asrscale.training.checkpoint import RunState


def test_a_run_is_over_at_its_end_or_out_of_patience(tone_shards: Path) -> None:
    patient, endless = make_context(tone_shards, patience=2), make_context(tone_shards, patience=0)
    assert not patient.is_over(RunState(step=39, stale_evaluations=1))
    assert patient.is_over(RunState(step=40, evaluated_step=40)) and patient.is_over(
        RunState(step=1, stale_evaluations=2)
    )
    assert not patient.is_over(RunState(step=40, evaluated_step=20))  # stopped in its last evaluation
    assert not endless.is_over(RunState(step=1, stale_evaluations=9))


def test_the_learning_rate_follows_the_schedule(tone_shards: Path) -> None:
    running = make_context(tone_shards, warmup_steps=10)
    assert running.learning_rate(10) == pytest.approx(3e-3)
    assert running.learning_rate(39) < 3e-3
