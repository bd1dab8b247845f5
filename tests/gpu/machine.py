"""What the parts of the check share: the device, their sizes, and how a finding is printed."""

import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from asrscale.memory.gpus import GIB, GPUS, Gpu

# `gpu_check.py cpu` tries the parts where there is no GPU, in small: its figures mean nothing.
ON_CPU = bool(os.environ.get("GPU_CHECK_ON_CPU"))
DEVICE = torch.device("cpu" if ON_CPU else "cuda")

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# What torch calls a card holds the first of these words, and its memory tells the rest.
_NAMES = {
    "H200": ("h200-141",),
    "H100": ("h100-80",),
    "A100": ("a100-40", "a100-80"),
    "V100": ("v100-16", "v100-32"),
    "T4": ("t4-16",),
    "L4": ("l4-24",),
    "4090": ("rtx4090-24",),
    "4060": ("rtx4060-8",),
    "3060": ("rtx3060-12",),
    "3050": ("rtx3050-6",),
}


@dataclass(frozen=True)
class Finding:
    """Something that the check has found.

    Attributes:
        name: What was looked at.
        text: What was found, for people.
        is_wrong: Whether it is outside the bounds that are stated.
        numbers: The figures in it.
    """

    name: str
    text: str
    is_wrong: bool = False
    numbers: dict[str, float] = field(default_factory=dict)


def print_findings(findings: Iterable[Finding]) -> None:
    """Prints each as a line of JSON as soon as it is there, so that none is lost where time runs out."""
    for finding in findings:
        print(json.dumps(asdict(finding)), flush=True)


def precisions() -> list[str]:
    """Those that this device computes in."""
    if ON_CPU:
        return ["fp32", "bf16"]
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return ["fp32", "bf16", "fp16"] if has_bf16 else ["fp32", "fp16"]


def half_precision() -> str:
    """The one that a run would choose."""
    return "bf16" if "bf16" in precisions() else "fp16"


def card_name() -> str:
    """What torch calls the card."""
    return "a CPU" if ON_CPU else torch.cuda.get_device_name()


def known_card() -> Gpu:
    """The planner's entry for this card, or its nearest by memory; on a CPU any."""
    if ON_CPU:
        return GPUS["a100-40"]
    seen_gib = torch.cuda.mem_get_info()[1] / GIB
    named = [names for word, names in _NAMES.items() if word in card_name()]
    candidates = [GPUS[name] for names in named for name in names] or list(GPUS.values())
    return min(candidates, key=lambda gpu: abs(gpu.memory_gib - seen_gib))


def synchronize() -> None:
    """Waits until the device has done what it was given."""
    if not ON_CPU:
        torch.cuda.synchronize()


def seconds_of(work: Callable[[], Any], times: int) -> list[float]:
    """How long each of some repetitions takes, after one that does not count."""
    work()
    found = []
    for _ in range(times):
        synchronize()
        began = time.perf_counter()
        work()
        synchronize()
        found.append(time.perf_counter() - began)
    return found


def peak_bytes() -> int:
    """The most that torch's allocator has held since the last call."""
    if ON_CPU:
        return 0
    synchronize()
    peak = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return peak


def fp32_is_exact() -> None:
    """Computes fp32 products as such, not in the shorter TF32."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
