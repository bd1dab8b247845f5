"""The numbers of a line of metrics.jsonl, without a launcher."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from helpers.contexts import make_context, step_of

from asrscale.common.distributed import World
from asrscale.training.checkpoint import RunState
from asrscale.training.meter import Meter


def test_a_line_of_metrics_names_the_slowest_rank_and_counts_what_was_skipped(tone_shards: Path, world: World) -> None:
    own = replace(make_context(tone_shards), world=world)
    step, meter = step_of(own, [np.array([4])], 1), Meter()
    meter.forward_seconds += 0.5
    meter.add(step, 0, torch.tensor(3.0), 1.0, 0.25)
    meter.add(step, 0, torch.tensor(float("nan")), float("inf"), 0.0)
    values = meter.values(own, RunState(step=2, restarts=2))
    assert values["train/loss"] == 3.0 and values["train/skipped"] == 1 and values["run/restarts"] == 2
    assert values["speed/slowest_rank"] == 0 and values["speed/slowest_rank_behind_seconds"] == 0
    assert values["speed/rank_seconds"] == (0.375,)  # of 0.25 s of waiting and 0.5 s of computing in two steps
    assert values["memory/host_bytes"] > 50e6 and values["memory/device_bytes"] == 0
