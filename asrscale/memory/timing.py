"""Estimated time of a pass and of a step on a GPU."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asrscale.memory.gpus import Gpu
from asrscale.memory.pass_cost import PassCost
from asrscale.model.recognizer import Recognizer

# A kernel takes at least a launch; matrix units reach 70 % of their peak, memory 80 %. Real training is slower: of
# wav2vec2-base on an A100, as published, 6 times slower than this bound. docs/memory.md has the sources.
LAUNCH_SECONDS, FLOPS_SHARE, BANDWIDTH_SHARE, SLOWDOWN = 6e-6, 0.7, 0.8, 6.0


HOST_BYTES_PER_SECOND = 12e9  # PCIe 3.0 ×16, and about what AdamW on the host reads and writes


def operation_seconds(cost: PassCost, utterances: int, gpu: Gpu) -> NDArray[np.float64]:
    """(N,) time of each operation of a pass, bound by FLOPs or bytes a second, or by its launch."""
    flops, moved = (cost.base[:, 1:] + cost.slope[:, 1:] * utterances).T
    bytes_a_second = gpu.memory_gb_per_second * 1e9 * BANDWIDTH_SHARE
    bound = np.maximum(flops / (gpu.teraflops * 1e12 * FLOPS_SHARE), moved / bytes_a_second)
    return np.where(moved == 0, 0.0, np.maximum(bound, LAUNCH_SECONDS) * SLOWDOWN)


def transfer_seconds(recognizer: Recognizer, zero: Mapping[str, Any], gpu: Gpu, gpus: int, passes: int) -> float:
    """What a step waits for the other GPUs and for the host, nothing of it hidden behind arithmetic."""
    model, stage = recognizer.model, zero["stage"]
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    gradients = 4 * sum(p.numel() for p in model.parameters() if p.requires_grad)  # reduced in fp32
    reduced = [2 * gradients, 2 * gradients, passes * gradients, passes * (gradients + 3 * weights)][stage]
    moved = (gpus - 1) / gpus * (reduced + (weights if stage in (1, 2) else 0)) / (gpu.link_gb_per_second * 1e9)
    # AdamW touches seven fp32 values a weight. From the host weights come back; gradients go there once.
    on_gpu = 7 * gradients / gpus / (gpu.memory_gb_per_second * 1e9 * BANDWIDTH_SHARE)
    on_host = (weights + gradients / gpus + 7 * gradients / gpus) / HOST_BYTES_PER_SECOND
    return float(moved + (on_host if zero.get("offload_optimizer") else on_gpu))
