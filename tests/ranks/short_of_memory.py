"""Starts launch/train.py in this process, with less memory on a rank: torch raises its own error where OOM says so.

OOM="WHERE OPERATION RANK STEP SECONDS": on that rank, from that step on (the first is 1, 0 the rehearsal), each pass of
more than SECONDS of padded audio fails at that operation of its `forward` or its `backward`. With `step` the
optimizer's step fails, with `evaluate` or `save` an evaluation or a checkpoint; with `cap` nothing, but from that step
on passes of all ranks hold SECONDS at most.
"""

import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from asrscale.data.batches import Batch
from asrscale.data.step_reader import Step
from asrscale.speech.pcm import SAMPLE_RATE_HZ
from asrscale.training import engine as ds
from asrscale.training import loop, saving, step, validation
from asrscale.training.run_context import RunContext

TRAIN = Path(__file__).resolve().parents[2] / "launch" / "train.py"


class Allocator(TorchDispatchMode):
    """Has no memory for one operation."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.left = at

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.left -= 1
        if self.left == 0:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB. (on purpose)")
        return func(*args, **(kwargs or {}))


def main() -> None:
    where, operation, rank, first, seconds = os.environ["OOM"].split()
    train_step, loss_sum, backward = step.train_step, step.loss_sum, ds.backward
    reached, fails = 0, False

    def begin(engine: object, job: RunContext, step: Step, *given: object) -> object:
        nonlocal reached
        reached = step.number + 1
        if where == "cap" and reached >= int(first):
            job.cap.samples = min(job.cap.samples, round(float(seconds) * SAMPLE_RATE_HZ))
        return train_step(engine, job, step, *given)

    def forward(engine: object, recognizer: object, batch: Batch) -> torch.Tensor:
        nonlocal fails
        fails = batch.waveforms.numel() > float(seconds) * SAMPLE_RATE_HZ and reached >= int(first)
        fails &= os.environ["RANK"] == rank
        with Allocator(int(operation) if fails and where == "forward" else 0):
            return loss_sum(engine, recognizer, batch)

    def short(what: str, action: Callable[..., object]) -> Callable[..., object]:
        def act(*given: object, **named: object) -> object:
            fails = where == what and os.environ["RANK"] == rank and reached >= int(first)
            with Allocator(int(operation) if fails else 0):
                return action(*given, **named)

        return act

    def back(*given: object) -> None:
        with Allocator(int(operation) if fails and where == "backward" else 0):
            backward(*given)

    step.train_step = loop.train_step = begin
    step.loss_sum = forward
    ds.backward = back
    validation.evaluate = short("evaluate", validation.evaluate)
    saving.save_checkpoint = short("save", saving.save_checkpoint)
    ds.take_step = short("step", ds.take_step)
    sys.argv[0] = str(TRAIN)
    runpy.run_path(str(TRAIN), run_name="__main__")


if __name__ == "__main__":
    main()
