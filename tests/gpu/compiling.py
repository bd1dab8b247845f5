"""What torch.compile gains: base's steps with layers compiled beside steps with layers as they are."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from asrscale.model.compiling import compile_layers
from asrscale.training import engine as ds
from gpu.machine import Finding, half_precision, synchronize
from gpu.models import batch_of, make_model
from gpu.speed import some_passes
from gpu.steps import config_of, make_engine, take_step

SIZE = "base"
LOSS_BOUND = 0.02  # between losses of the first step: sums of 16 bits in another order


def compiling() -> Iterator[Finding]:
    """Yields how fast steps are with layers compiled, how long compiling takes, and how many graphs there are."""
    with tempfile.TemporaryDirectory() as name, ds.joined_ranks() as world:
        eager_seconds, eager_loss, _ = steps(Path(name), world, compiled=False)
        compiled_seconds, compiled_loss, first_seconds = steps(Path(name), world, compiled=True)
    counters = torch._dynamo.utils.counters
    graphs = counters["stats"]["unique_graphs"]
    ratio = eager_seconds / compiled_seconds
    difference = abs(compiled_loss / eager_loss - 1)
    text = (
        f"{ratio:.2f} times as fast as with layers that are not, after {first_seconds:.0f} s of compiling {graphs} "
        f"graphs; the first loss differs by {difference:.1e} of it"
    )
    numbers = dict(ratio=ratio, compiling_seconds=first_seconds, graphs=float(graphs), difference=difference)
    is_wrong = difference > LOSS_BOUND or bool(counters["graph_break"])
    yield Finding(f"compiled layers, {SIZE}, {half_precision()}", text, is_wrong, numbers)


def steps(folder: Path, world: Any, *, compiled: bool) -> tuple[float, float, float]:
    """Returns the seconds of steps of all lengths, the loss of the first, and the seconds of passes that compile."""
    recognizer = make_model(folder, SIZE)
    if compiled:
        compile_layers(recognizer.model)
    engine = make_engine(recognizer, config_of("zero2", half_precision()))
    batches = [batch_of(some, number) for number, some in enumerate(some_passes())]
    began = time.perf_counter()
    losses = [take_step(engine, recognizer, batch, world) for batch in batches]
    synchronize()
    first_seconds = time.perf_counter() - began
    began = time.perf_counter()
    for batch in batches:
        take_step(engine, recognizer, batch, world)
    synchronize()
    seconds = time.perf_counter() - began
    engine.destroy()
    return seconds, float(losses[0]), first_seconds - seconds
