"""Estimated time of a pass and of a step on a GPU. docs/memory-model.md has the sources.

Shapes: N operations of a pass.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asrscale.memory.deepspeed_states import FP32_BYTES
from asrscale.memory.gpus import Gpu
from asrscale.memory.pass_cost import PassCost
from asrscale.model.families import head_of
from asrscale.model.recognizer import Recognizer

LAUNCH_SECONDS = 6e-6  # the least that a kernel takes
FLOPS_SHARE = 0.7  # what matrix units reach of their peak
BANDWIDTH_SHARE = 0.8  # what memory reaches of its peak

HOST_BYTES_PER_SECOND = 12e9  # PCIe 3.0 ×16, and about what AdamW on the host reads and writes

# fp32 values that AdamW touches for a weight: it reads weight, gradient and both moments, and writes all but the
# gradient.
ADAMW_VALUES = 7
AVERAGE_VALUES = 3  # the same of a moving average: it is read and written, and the weight is read


def operation_seconds(cost: PassCost, utterances: int, gpu: Gpu) -> NDArray[np.float64]:
    """Returns the time (N,) of each operation of a pass, bound by FLOPs, by bytes moved, or by its launch."""
    flops = cost.flops.of(utterances)
    moved_bytes = cost.moved_bytes.of(utterances)
    computing_seconds = flops / (gpu.teraflops * 1e12 * FLOPS_SHARE)
    moving_seconds = moved_bytes / _memory_bytes_per_second(gpu)
    bound_seconds = np.maximum(computing_seconds, moving_seconds)
    seconds = np.maximum(bound_seconds, LAUNCH_SECONDS) * gpu.slowdown.likely
    return np.where(moved_bytes == 0, 0.0, seconds)  # what moves nothing, such as a view, launches no kernel


def transfer_seconds(
    recognizer: Recognizer,
    zero: Mapping[str, Any],
    gpu: Gpu,
    *,
    gpu_count: int,
    passes: int,
    keeps_average: bool = False,
    head_only: bool = False,
) -> float:
    """Returns what a step waits for other GPUs, the optimizer and the host, with nothing hidden behind arithmetic.

    Args:
        recognizer: The model, in the precision that it computes in.
        zero: The resolved "zero_optimization" section.
        gpu: The kind of GPU.
        gpu_count: How many GPUs work together.
        passes: Passes of a step on each of them.
        keeps_average: Whether the run keeps a moving average of its weights.
        head_only: Whether the step trains the head only.
    """
    parameters = list(recognizer.model.parameters())
    weight_bytes = sum(parameter.numel() * parameter.element_size() for parameter in parameters)
    learning = list(head_of(recognizer.model).parameters()) if head_only else parameters
    trained = sum(parameter.numel() for parameter in learning if parameter.requires_grad)
    gradient_bytes = FP32_BYTES * trained  # gradients are reduced in fp32

    sent_bytes = _sent_bytes(zero["stage"], weight_bytes, gradient_bytes, passes)
    link_bytes_per_second = gpu.link_gb_per_second * 1e9
    sending_seconds = (gpu_count - 1) / gpu_count * sent_bytes / link_bytes_per_second

    values = ADAMW_VALUES + (AVERAGE_VALUES if keeps_average else 0)
    optimizer_bytes = values * gradient_bytes / gpu_count
    if zero.get("offload_optimizer"):
        # Weights come back from the host; gradients go there once.
        host_bytes = weight_bytes + gradient_bytes / gpu_count + optimizer_bytes
        optimizer_seconds = host_bytes / HOST_BYTES_PER_SECOND
    else:
        optimizer_seconds = optimizer_bytes / _memory_bytes_per_second(gpu)
    return float(sending_seconds + optimizer_seconds)


def _memory_bytes_per_second(gpu: Gpu) -> float:
    """Returns what a GPU's memory reads and writes in practice."""
    return gpu.memory_gb_per_second * 1e9 * BANDWIDTH_SHARE


def _sent_bytes(stage: int, weight_bytes: int, gradient_bytes: int, passes: int) -> int:
    """Returns what each GPU sends in a step under a ZeRO stage, up to the factor of (GPUs - 1) / GPUs.

    Reducing to the ranks that own a share sends everything once, and so does gathering; an all-reduce is both.
    """
    if stage == 0:
        return 2 * gradient_bytes
    if stage == 1:  # an all-reduce of the gradients, and the updated weights are gathered
        return 2 * gradient_bytes + weight_bytes
    if stage == 2:  # gradients go to their owners after each pass, and the updated weights are gathered
        return passes * gradient_bytes + weight_bytes
    # Weights are gathered in each pass, counted three times: forward, where layers are recomputed, and backward.
    return passes * (gradient_bytes + 3 * weight_bytes)
