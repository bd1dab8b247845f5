"""What a rank takes of the memory beside the GPU. docs/memory-model.md has the source of each constant."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from asrscale.data.decoded import KEPT_BYTES
from asrscale.memory.deepspeed_states import FP32_BYTES, OPTIMIZER_BYTES
from asrscale.memory.gpus import GIB

LIBRARIES_BYTES = int(0.7 * GIB)  # resident after the imports and DeepSpeed's start, without CUDA's

# Three steps of int16 samples (96 kB a second), and the payloads and samples that become two (see data.loader).
LOADER_BYTES_PER_SECOND = 224_000


def host_bytes(
    zero: Mapping[str, Any],
    model: nn.Module,
    *,
    world_size: int,
    share_seconds: float,
    keeps_average: bool = False,
) -> dict[str, float]:
    """Returns the host memory of rank 0, which writes the checkpoints, by what it is for; not all of it at once.

    Args:
        zero: The resolved "zero_optimization" section.
        model: The model in the precision that it computes in; its content is not read.
        world_size: How many ranks train together.
        share_seconds: Padded audio of a rank's share of a step.
        keeps_average: Whether the run keeps a moving average of its weights, which is where AdamW's moments are.
    """
    all_parameters = list(model.parameters())
    parameters = sum(parameter.numel() for parameter in all_parameters)
    trained = sum(parameter.numel() for parameter in all_parameters if parameter.requires_grad)
    frozen = parameters - trained

    state_bytes = OPTIMIZER_BYTES + (FP32_BYTES if keeps_average else 0)
    offloaded_bytes: float = 0
    if zero.get("offload_optimizer"):
        element_bytes = all_parameters[0].element_size()
        offloaded_bytes = _offloaded_bytes(trained, state_bytes, element_bytes, world_size)
    return {
        "Python and its libraries": LIBRARIES_BYTES,
        "the model as it is loaded": FP32_BYTES * parameters,
        "frozen weights for checkpoints": FP32_BYTES * frozen,
        "a checkpoint as it is written": state_bytes * trained,
        "optimizer on the host": offloaded_bytes,
        "read ahead, pinned": LOADER_BYTES_PER_SECOND * share_seconds,
        "a small corpus, decoded": KEPT_BYTES,
    }


def _offloaded_bytes(trained: int, state_bytes: int, element_bytes: int, world_size: int) -> float:
    """Returns what the optimizer takes of the host for a rank's share of the trained parameters.

    That is what a checkpoint has of each, `state_bytes`, its gradient in fp32, and its weight to send back in the
    precision that the model computes in, of `element_bytes`; in fp32 also all the gradients that are added up.
    """
    share_bytes = (state_bytes + FP32_BYTES + element_bytes) * trained / world_size
    summed_bytes = FP32_BYTES * trained if element_bytes == FP32_BYTES else 0
    return share_bytes + summed_bytes
