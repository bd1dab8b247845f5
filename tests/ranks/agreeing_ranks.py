"""Run by tests/training/test_agreed_steps.py on two ranks: one asks for a stop, and both stop before the same step.

    agreeing_ranks.py SHARDS

Each rank takes the steps of a run, and prints for each case which ones it took before the stop.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.contexts import make_context

from asrscale.common import distributed
from asrscale.common.distributed import World
from asrscale.common.errors import Stopped
from asrscale.data.step_reader import steps_from
from asrscale.training.agreed_steps import AgreedSteps
from asrscale.training.run_context import RunContext
from asrscale.training.watch import Watch

ASKED_AT = 2  # the step within which a rank asks


def steps_before_stop(context: RunContext, case: str, asks: bool, world: World) -> list[int]:
    """Takes steps until the ranks stop; this rank `asks` for it where `case` says."""
    watch = Watch(Path("run"))
    read = steps_from(context.plan, range(8), rank=world.rank, world_size=world.world_size,
                      cap_samples=context.cap.samples, threads=1)  # fmt: skip
    steps = AgreedSteps(read, watch, world)
    taken: list[int] = []
    try:
        while (agreed := steps.take()) is not None:
            assert agreed.good == agreed.step.utterances and agreed.damaged == 0
            taken.append(agreed.step.number)
            asks_now = asks and agreed.step.number == ASKED_AT
            if case == "before it looks ahead":
                watch.stopping |= asks_now
            if case != "where none looks ahead":
                steps.look_ahead()
            watch.stopping |= asks_now
    except Stopped:
        return taken
    raise AssertionError("no rank has stopped")


with distributed.joined_ranks() as world:
    context = replace(make_context(Path(sys.argv[1])), world=world)
    for case in ("before it looks ahead", "after it has looked ahead", "where none looks ahead"):
        for asking in range(world.world_size):
            taken = steps_before_stop(context, case, asking == world.rank, world)
            print(f"{case}: {taken}\n", end="", flush=True)
os._exit(0)  # as `cli.run` ends a process, and for the same reason
