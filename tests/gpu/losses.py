"""Whether a GPU computes what a CPU does: losses of twenty steps, in each precision and at each stage of ZeRO."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from asrscale.common.distributed import World
from asrscale.training import engine as ds
from gpu.machine import DEVICE, ON_CPU, Finding, fp32_is_exact, half_precision, precisions
from gpu.models import batch_of, lengths, make_model
from gpu.steps import config_of, make_engine, plain_losses, take_step

STEPS = 4 if ON_CPU else 20
UTTERANCES = 4

# How far losses may be from those of a CPU in fp32, relatively. Of 16 bits, 8 (bf16) or 11 are a value's digits, and
# the rounding of twenty steps adds up; fp32 sums in another order.
BOUNDS = {"fp32": 1e-3, "fp16": 2e-2, "bf16": 5e-2}

STAGES = ("zero1", "zero2", "zero3", "zero2_offload")
STAGE_BOUND = 2e-2  # relatively, of stages in 16 bits from one another: they round in different places


def losses() -> Iterator[Finding]:
    """Yields how far the losses of a GPU are from those of the CPU."""
    fp32_is_exact()
    some = lengths()[: 4 * UTTERANCES : 4].clip(max=3 * 16_000)
    with tempfile.TemporaryDirectory() as name, ds.joined_ranks() as world:
        folder = Path(name)
        for size in ("tiny", "base"):
            expected = plain_losses(make_model(folder, size), batch_of(some), STEPS, torch.device("cpu"))
            on_device = plain_losses(make_model(folder, size), batch_of(some), STEPS, DEVICE)
            yield compared(f"{size}, plain torch, fp32", expected, on_device, BOUNDS["fp32"])
            for precision in precisions():
                found = engine_losses(folder, size, "zero2", precision, some, world)
                yield compared(f"{size}, ZeRO-2, {precision}", expected, found, BOUNDS[precision])
        half = half_precision()
        by_stage = {stage: engine_losses(folder, "base", stage, half, some, world) for stage in STAGES}
        for stage in STAGES[1:]:
            yield compared(f"base, {stage} beside zero1, {half}", by_stage["zero1"], by_stage[stage], STAGE_BOUND)


def engine_losses(
    folder: Path, size: str, stage: str, precision: str, num_samples: NDArray[np.int64], world: World
) -> list[float]:
    """The losses of DeepSpeed's steps on one batch."""
    recognizer = make_model(folder, size)
    engine = make_engine(recognizer, config_of(stage, precision))
    batch = batch_of(num_samples)
    found = [float(take_step(engine, recognizer, batch, world)) for _ in range(STEPS)]
    engine.destroy()
    return found


def compared(name: str, expected: list[float], found: list[float], bound: float) -> Finding:
    """What two curves differ by; fp16 leaves out steps while it looks for its loss scale, so steps are not compared."""
    if "fp16" in name:  # a skipped step repeats its loss
        found = [loss for loss, before in zip(found, [None, *found], strict=False) if loss != before]
    pairs = list(zip(expected, found, strict=False))
    worst = max(abs(other - one) / abs(one) for one, other in pairs)
    text = f"losses {found[0]:.4f} to {found[-1]:.4f}, by {worst:.1e} from the others at most (allowed: {bound:.0e})"
    is_wrong = not worst <= bound or len(pairs) < 2 or not found[-1] < found[0]
    return Finding(name, text, is_wrong, {"worst": worst, "bound": bound, "first": found[0], "last": found[-1]})
