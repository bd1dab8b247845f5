"""Starts launch/train.py in this process, which waits in a step until it is asked to stop, or a file exists.

HOLD="STEP FILE": the step is 1-based; FILE.held says that a rank waits, and the first rank that is asked to stop makes
FILE. So a test can do something to a run in the middle of it, however fast the machine is.
"""

import os
import runpy
import sys
import time
from pathlib import Path
from typing import Any

from asrscale.data.step_reader import Step
from asrscale.training import engine as ds
from asrscale.training import loop
from asrscale.training import step as step_module
from asrscale.training.run_context import RunContext

TRAIN = Path(__file__).resolve().parents[2] / "launch" / "train.py"


def main() -> None:
    number, name = os.environ["HOLD"].split()
    released = Path(name)
    train_step = step_module.train_step

    def hold(engine: ds.Engine, context: RunContext, step: Step, *given: Any, **named: Any) -> Any:
        while step.number + 1 == int(number) and not released.exists():
            Path(f"{name}.held").touch()
            context.watch.beat()
            time.sleep(0.01)
            if context.watch.stopping:
                released.touch()
        return train_step(engine, context, step, *given, **named)

    step_module.train_step = loop.train_step = hold
    sys.argv[0] = str(TRAIN)
    runpy.run_path(str(TRAIN), run_name="__main__")


if __name__ == "__main__":
    main()
