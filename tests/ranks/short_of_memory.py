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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from asrscale.data.batches import Batch
from asrscale.data.step_reader import Step
from asrscale.speech.pcm import SAMPLE_RATE_HZ
from asrscale.training import engine as ds
from asrscale.training import loop, saving, validation
from asrscale.training import step as step_module
from asrscale.training.run_context import RunContext

TRAIN = Path(__file__).resolve().parents[2] / "launch" / "train.py"


class Allocator(TorchDispatchMode):
    """Has no memory for one operation: the first, second …, or none with 0."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.left = at

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.left -= 1
        if self.left == 0:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB. (on purpose)")
        return func(*args, **(kwargs or {}))


@dataclass
class Fault:
    """What the environment variable OOM says, and where this rank is."""

    where: str
    operation: int
    is_own: bool  # whether it is a fault of this rank
    first_step: int
    samples: int
    step: int = 0  # that this rank is at
    is_large_pass: bool = False  # whether the pass that it is at has more than `samples`

    def allocator(self, where: str) -> Allocator:
        """Returns an allocator that fails if this is the place and the time."""
        fails = where == self.where and self.is_own and self.step >= self.first_step
        if where in ("forward", "backward"):
            fails = fails and self.is_large_pass
        return Allocator(self.operation if fails else 0)

    def around(self, where: str, action: Callable[..., Any]) -> Callable[..., Any]:
        """Returns `action`, for which there may be no memory."""

        def act(*given: Any, **named: Any) -> Any:
            with self.allocator(where):
                return action(*given, **named)

        return act


def read_fault() -> Fault:
    """Reads OOM."""
    where, operation, rank, first_step, seconds = os.environ["OOM"].split()
    return Fault(
        where=where,
        operation=int(operation),
        is_own=os.environ.get("RANK", "0") == rank,
        first_step=int(first_step),
        samples=round(float(seconds) * SAMPLE_RATE_HZ),
    )


def build_in(fault: Fault) -> None:
    """Puts a fault around the functions that train."""
    train_step = step_module.train_step
    loss_sum = fault.around("forward", step_module.loss_sum)

    def notice_step(engine: ds.Engine, context: RunContext, step: Step, *given: Any, **named: Any) -> Any:
        fault.step = step.number + 1
        if fault.where == "cap" and fault.step >= fault.first_step:
            context.cap.samples = min(context.cap.samples, fault.samples)
        return train_step(engine, context, step, *given, **named)

    def notice_pass(engine: ds.Engine, recognizer: object, batch: Batch) -> torch.Tensor:
        fault.is_large_pass = batch.waveforms.numel() > fault.samples
        loss: torch.Tensor = loss_sum(engine, recognizer, batch)
        return loss

    step_module.train_step = notice_step
    loop.train_step = notice_step
    step_module.loss_sum = notice_pass
    ds.backward = fault.around("backward", ds.backward)
    ds.take_step = fault.around("step", ds.take_step)
    validation.evaluate = fault.around("evaluate", validation.evaluate)
    saving.save_checkpoint = fault.around("save", saving.save_checkpoint)


if __name__ == "__main__":
    build_in(read_fault())
    sys.argv[0] = str(TRAIN)
    runpy.run_path(str(TRAIN), run_name="__main__")
