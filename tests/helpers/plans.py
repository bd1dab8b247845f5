"""Plans of runs on real shards, and the steps that a reader makes of them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from asrscale.data import run_plan
from asrscale.data.catalog import read_catalog
from asrscale.data.mixing import read_mix
from asrscale.data.run_plan import RunPlan, plan_run, plan_visit
from asrscale.data.step_reader import Step, steps_from
from asrscale.model.recognizer import Recognizer


def plan_in_windows(
    folder: Path, recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch, windows: int, **settings: Any
) -> RunPlan:
    """The plan of a run on a data set folder, in about so many windows."""
    catalog = read_catalog([str(folder)])
    monkeypatch.setattr(run_plan, "WINDOW_HOURS", catalog.hours / windows * 0.999)
    chosen = {"seed": 5, "batch_seconds": 2.0, "units_per_step": 2, **settings}
    return plan_run(catalog, recognizer.vocabulary, recognizer.geometry, **chosen)


def plan_of_mix(train: Sequence[str], recognizer: Recognizer, *, temperature: float = 1.0, **settings: Any) -> RunPlan:
    """The plan of a run on data sets with weights."""
    chosen = {"seed": 5, "batch_seconds": 2.0, "units_per_step": 2, **settings}
    return plan_run(read_mix(train, temperature), recognizer.vocabulary, recognizer.geometry, **chosen)


def visits_of_epochs(plan: RunPlan, epochs: range) -> list[Counter[str]]:
    """How often each epoch visits each utterance, by its key; from the plan alone."""
    counts = []
    for epoch in epochs:
        visits: Counter[str] = Counter()
        number = epoch * plan.steps_per_epoch
        while number < (epoch + 1) * plan.steps_per_epoch:
            index, planned = plan_visit(plan, number).index, plan_visit(plan, number).plan
            visits.update(index.unique_key(int(utterance)) for utterance in planned.utterances)
            number += planned.num_steps
        counts.append(visits)
    return counts


def run_steps(plan: RunPlan, first: int, last: int, rank: int = 0, ranks: int = 1) -> list[Step]:
    """The steps from `first` to `last`, which is not one of them."""
    numbers = range(first, last)
    return list(steps_from(plan, numbers, rank=rank, world_size=ranks, cap_samples=48_000, threads=1))


def keys(step: Step) -> list[str]:
    """The keys of this rank's utterances of a step."""
    return sorted(step.index.keys[int(u)].as_py() for batch in step.batches for u in batch.utterances)
