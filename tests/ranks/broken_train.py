"""Starts launch/train.py in this process, with the fault that FAULT names built in: `nan 5 1` = at step 5 on rank 1.

nan STEP RANK      the loss is not a number in one step; with `nan STEP- RANK`, in every step from there on
throw STEP RANK    an exception
stop STEP RANK     SIGSTOP to itself
clock STEP RANK    the clock goes back by a day
"""

import os
import runpy
import signal
import sys
import time
from pathlib import Path

import torch

from asrscale.training import step as step_module

TRAIN = Path(__file__).parents[2] / "launch" / "train.py"
DAY_SECONDS = 86_400.0


def main() -> None:
    kind, at, rank = os.environ.get("FAULT", "none 0 0").split()
    first = int(at.rstrip("-"))
    prepare_pass, ctc_loss, clock = step_module.prepare_pass, torch.nn.functional.ctc_loss, time.time
    reached = -1  # the step that this rank is at; evaluations come under the last one

    def notice_step(*arguments: object, step: int, **named: object) -> None:
        nonlocal reached
        begins, reached = step != reached, step
        prepare_pass(*arguments, step=step, **named)
        if begins and step == first and os.environ.get("RANK", "0") == rank:
            if kind == "throw":
                raise RuntimeError("a fault on purpose")
            if kind == "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            if kind == "clock":
                time.time = lambda: clock() - DAY_SECONDS

    def break_loss(*arguments: object, **named: object) -> torch.Tensor:
        loss: torch.Tensor = ctc_loss(*arguments, **named)
        hit = reached == first or (reached > first and at.endswith("-"))
        broken = hit and os.environ.get("RANK", "0") == rank and torch.is_grad_enabled()
        return loss * float("nan") if broken else loss

    step_module.prepare_pass = notice_step
    if kind == "nan":
        torch.nn.functional.ctc_loss = break_loss
    sys.argv[0] = str(TRAIN)
    runpy.run_path(str(TRAIN), run_name="__main__")


if __name__ == "__main__":
    main()
