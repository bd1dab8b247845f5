"""When a run is over and what its learning rate is; tests/training/test_loop.py trains."""

from dataclasses import replace
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
    running = make_context(tone_shards, warmup_steps=10, learning_rate=3e-3, schedule="cosine")
    assert running.learning_rates(10).head == pytest.approx(3e-3)
    assert running.learning_rates(39).head < 3e-3


def test_the_start_is_evaluated_once_where_it_transcribes(tone_shards: Path) -> None:
    untrained = make_context(tone_shards, eval_steps=2)
    trained = replace(untrained, recognizer=replace(untrained.recognizer, transcribes=True))
    assert trained.evaluation_is_due(RunState()) and not untrained.evaluation_is_due(RunState())
    assert not trained.evaluation_is_due(RunState(before=(0.1, 0.1, 0.1)))
    assert not trained.evaluation_is_due(RunState(step=1))  # of a run that an older version began
    assert trained.evaluation_is_due(RunState(step=2)) and untrained.evaluation_is_due(RunState(step=2))


def test_a_run_is_warmed_up_once_all_that_it_trains_was_at_the_peak(tone_shards: Path) -> None:
    def first_step(**given: object) -> int:
        context = make_context(tone_shards, warmup_steps=10, **given)  # of 40 steps
        return next(step for step in range(99) if context.is_warmed_up(step))

    assert first_step() == 11
    assert first_step(freeze_steps=15) == 26  # below the head, the warm-up begins after 15
    assert first_step(freeze_steps=40) == 11  # nothing but the head is ever trained
