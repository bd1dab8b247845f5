"""Which kernels run here, how fast this card multiplies, and whether kernels agree."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from asrscale.model.forward import count_frames, forward_logits
from gpu.machine import DEVICE, DTYPES, ON_CPU, Finding, half_precision, known_card, seconds_of
from gpu.models import batch_of, lengths, make_model

MATRIX_SIZE = 512 if ON_CPU else 8_192
COPIED_BYTES = 2**22 if ON_CPU else 2**30
KERNEL_BOUND = 0.05  # of logits, absolutely: sdpa and eager round 16 bits in different places


def kernels() -> Iterator[Finding]:
    """Yields what the card does with single operations."""
    half = DTYPES[half_precision()]
    one, other = (torch.randn(MATRIX_SIZE, MATRIX_SIZE, device=DEVICE, dtype=half) for _ in range(2))
    teraflops = 2 * MATRIX_SIZE**3 / min(seconds_of(lambda: one @ other, 10)) / 1e12
    tensor = torch.empty(COPIED_BYTES, dtype=torch.uint8, device=DEVICE)
    gigabytes = 2 * COPIED_BYTES / min(seconds_of(lambda: tensor.clone(), 10)) / 1e9
    card = known_card()
    yield Finding(
        "speed of single operations",
        f"{teraflops:.1f} TFLOP/s in {half_precision()} ({card.teraflops:g} by the planner's {card.name}), "
        f"{gigabytes:,.0f} GB/s of memory ({card.memory_gb_per_second:g})",
        numbers={"teraflops": teraflops, "memory_gb_per_second": gigabytes},
    )
    yield from attention()
    yield agreement()


def attention() -> Iterator[Finding]:
    """Yields which of torch's attention kernels run, with the mask that padding makes and without."""
    dtype = DTYPES[half_precision()]
    query = torch.randn(2, 12, 64, 64, device=DEVICE, dtype=dtype, requires_grad=True)
    mask = torch.zeros(2, 1, 64, 64, device=DEVICE, dtype=dtype)
    for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION):
        without, with_mask = (attention_runs(backend, query, given) for given in (None, mask))
        text = f"without mask: {without}; with mask: {with_mask}"
        yield Finding(f"attention, {backend.name.lower()}, {dtype}", text)


def attention_runs(backend: SDPBackend, query: Tensor, mask: Tensor | None) -> str:
    """Whether a kernel runs forward and backward, and if not, why."""
    try:
        with sdpa_kernel(backend):
            torch.nn.functional.scaled_dot_product_attention(query, query, query, mask).sum().backward()
    except RuntimeError as error:
        return f"no ({str(error).splitlines()[0][:60]})"
    return "runs"


def agreement() -> Finding:
    """Whether eager attention and sdpa give the same logits."""
    batch = batch_of(lengths()[-4:])
    logits = {}
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        for kind in ("eager", "sdpa"):
            recognizer = make_model(Path(folder), "base", attention=kind)
            model = recognizer.model.to(DEVICE, DTYPES[half_precision()]).eval()
            logits[kind] = forward_logits(model, recognizer, batch.waveforms, batch.num_samples).float()
            num_frames = count_frames(model, batch.num_samples).tolist()
    rows = zip(logits["eager"] - logits["sdpa"], num_frames, strict=True)
    scale = float(logits["eager"].abs().max())
    worst = max(float(row[:frames].abs().max()) for row, frames in rows) / scale
    text = f"eager and sdpa differ by {worst:.1e} of the largest logit at most (allowed: {KERNEL_BOUND:g})"
    return Finding("logits of kernels", text, not worst <= KERNEL_BOUND, {"worst": worst})
