"""Predicted and measured peak of passes, without an engine."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from helpers.passes import CpuSemantics, masked, padded_pass, save_memory

from asrscale.memory.cuda_kernels import CudaSemantics
from asrscale.memory.gpu_memory import CUBLAS_BYTES
from asrscale.memory.pass_cost import run_pass, trace_pass
from asrscale.memory.tape import Tape
from asrscale.model.building import build_meta_recognizer, build_recognizer
from asrscale.model.recognizer import Recognizer
from asrscale.model.regularisation import prepare_pass
from gpu.machine import DEVICE, DTYPES, ON_CPU, Finding, half_precision, peak_bytes
from gpu.models import write_model

UTTERANCES, SECONDS = (2, 2.0) if ON_CPU else (8, 10.0)
BOUND = 0.10  # of the measured peak: what a plan leaves free is 5 %, and kernels' workspaces differ


def memory() -> Iterator[Finding]:
    """Yields the peaks of passes of base and large, with checkpointing of activations and without."""
    precision = half_precision()
    with tempfile.TemporaryDirectory() as folder:
        for size in ("base", "large"):
            path = str(write_model(Path(folder), size))
            for every in (0, 1):
                yield peak_of_pass(size, path, precision, every)


def peak_of_pass(size: str, path: str, precision: str, every: int) -> Finding:
    """The peak of a pass above the weights."""
    dtype = DTYPES[precision]
    sketch = build_meta_recognizer(path, dtype=dtype)
    real = build_recognizer(path, "", dropout=0.0)
    for one in (real, sketch):
        save_memory(one, frozen=True, every=every)
    semantics = CpuSemantics() if ON_CPU else CudaSemantics()
    cost = trace_pass(sketch, SECONDS, masked(sketch, 0.0), semantics)
    predicted = float(cost.timeline_bytes(UTTERANCES).max()) - cost.weights_bytes
    real.model.to(DEVICE, dtype).train()
    measured = measured_bytes(real)
    name = f"peak of a pass, {size}, {precision}, checkpointing {every}"
    text = f"predicted {predicted / 2**20:,.0f} MiB"
    if ON_CPU:
        return Finding(name, text, numbers={"predicted_bytes": predicted})
    error = predicted / measured - 1
    text += f", measured {measured / 2**20:,.0f} MiB: {error:+.1%}"
    return Finding(name, text, abs(error) > BOUND, {"predicted_bytes": predicted, "measured_bytes": measured})


def measured_bytes(real: Recognizer) -> int:
    """The peak of a pass above the weights."""
    batch = padded_pass(UTTERANCES, SECONDS).to(DEVICE)
    prepare_pass(masked(real, 0.0), real.model, batch, seed=0, step=0)
    weights_bytes = sum(parameter.numel() * parameter.element_size() for parameter in real.model.parameters())
    run_pass(real, batch, Tape(DEVICE.type, {}))  # what libraries allocate once
    torch.manual_seed(0)
    peak_bytes()
    run_pass(real, batch, Tape(DEVICE.type, {}))
    return peak_bytes() - weights_bytes - (0 if ON_CPU else CUBLAS_BYTES)
