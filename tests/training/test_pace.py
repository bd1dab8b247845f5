"""The estimate of the time that is left."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.contexts import make_context

from asrscale.training.checkpoint import RunState
from asrscale.training.pace import Pace, TimeLeft, describe_seconds, time_left
from asrscale.training.run_context import RunContext


def running(shards: Path, **given: object) -> RunContext:
    """40 steps whose evaluations are of two utterances."""
    context = make_context(shards, eval_steps=15, save_steps=10, **given)
    return replace(context, valid_subset=context.valid.take(np.arange(2)))


def paced(*seconds: float, **measured: float) -> Pace:
    pace = Pace(**measured)
    for one in seconds:
        pace.add_step(one)
    return pace


def test_nothing_is_said_before_some_steps_and_the_first_one_never_counts(tone_shards: Path) -> None:
    context = running(tone_shards)
    assert time_left(paced(100.0, 1.0, 1.0, 1.0, 1.0), context, RunState(step=5)) is None
    left = time_left(paced(100.0, 1.0, 2.0, 1.0, 2.0, 1.5), context, RunState(step=6))
    # Evaluations at 15, 30 and 40, and that of the exported model, take time that nobody knows yet.
    assert left == TimeLeft(34 * 1.5, evaluations=4)
    assert str(left) == "51 s and 4 evaluations"


def test_evaluations_saves_and_the_export_are_counted(tone_shards: Path) -> None:
    context = running(tone_shards)
    pace = paced(9.0, *[1.0] * 5, evaluation_seconds=10.0, save_seconds=3.0)
    share = len(context.valid) / 2
    assert share > 2
    left = time_left(pace, context, RunState(step=20))
    # 20 steps; evaluations at 30 and 40; saves at 30 and 40, and the export; the evaluation of all data.
    assert left == TimeLeft(pytest.approx(20 + 2 * 10 + 3 * 3 + share * 10))
    averaged = running(tone_shards, average=2, ema=0.9)
    more = time_left(pace, averaged, RunState(step=20))
    assert more == TimeLeft(pytest.approx(20 + 2 * 10 + 5 * 3 + 3 * share * 10))
    at_the_end = time_left(pace, context, RunState(step=40))
    assert at_the_end == TimeLeft(pytest.approx(3 + share * 10))


def test_only_the_last_steps_count(tone_shards: Path) -> None:
    context = running(tone_shards)
    pace = paced(*[50.0] * 100, *[2.0] * 100, evaluation_seconds=0.0, save_seconds=0.0)
    assert time_left(pace, context, RunState(step=30)) == TimeLeft(20.0)


def test_times_are_said_as_people_say_them() -> None:
    assert [describe_seconds(seconds) for seconds in (0.4, 99, 100, 60 * 99, 60 * 100, 36_000 + 59 * 60)] == [
        "0 s",
        "99 s",
        "2 min",
        "99 min",
        "1 h 40 min",
        "10 h 59 min",
    ]
