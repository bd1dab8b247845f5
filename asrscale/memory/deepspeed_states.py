"""What DeepSpeed keeps on GPU and host beside the activations of a pass."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from asrscale.memory.gpus import GIB, Gpu

# Constants that cannot be traced; docs/memory.md has where each comes from.
CONTEXT_BYTES = int(0.5 * GIB)  # CUDA's context with lazily loaded kernels: 0.3 to 0.5 GB


CUBLAS_BYTES = 2 * 8_519_680  # workspaces of the forward and the backward thread


NCCL_BYTES = int(0.7 * GIB)  # of several GPUs: 0.54 to 0.69 GB a communicator


LIBRARIES_BYTES = int(0.7 * GIB)  # resident after the imports and DeepSpeed's start, without CUDA's


LOADER_BYTES_PER_SECOND = 160_000  # three steps of int16, and the payloads and samples that become one (loader.py)


FRAGMENTATION = 0.05  # of what is allocated: replays of the caching allocator needed 0.7 to 4.5 %, checkpointed less


def outside_bytes(world_size: int) -> float:
    """What a GPU holds that no allocator of torch knows of."""
    return float(CONTEXT_BYTES + CUBLAS_BYTES + (NCCL_BYTES if world_size > 1 else 0))


def activation_budget_bytes(gpu: Gpu, states: "States", world_size: int) -> float:
    """What is left for activations in a pass; negative where not even an optimizer step fits."""
    room = (gpu.memory_gib * GIB - outside_bytes(world_size)) / (1 + FRAGMENTATION) - sum(states.resident.values())
    return room - (states.backward_bytes if room >= states.step_bytes else states.step_bytes)


@dataclass(frozen=True)
class States:
    """Bytes that DeepSpeed keeps on each GPU besides activations.

    `weights`, `gradients` and `optimizer` (fp32 weights and both moments) are there in every pass and step, `buckets`
    are its buffers; the rest comes and goes.
    """

    weights: float
    gradients: float
    optimizer: float
    buckets: float
    backward_bytes: float  # at most in a backward pass, on top
    step_bytes: float  # in an optimizer step, on top

    @property
    def resident(self) -> dict[str, float]:
        """What is there all the time, by name."""
        return {name: vars(self)[name] for name in ("weights", "gradients", "optimizer", "buckets")}


def deepspeed_states(zero: Mapping[str, Any], model: nn.Module, world_size: int) -> States:
    """What DeepSpeed 0.19.8 keeps with `engine.resolve_ds_config`'s settings, measured on CPU ranks.

    tests/bench/bench_memory.py repeats the measurement; docs/memory.md has the formulas as a table. `zero` is the
    resolved "zero_optimization" section; `model` is in the precision that it computes in, and its content is not read.
    """
    learned = [p.numel() for p in model.parameters() if p.requires_grad]
    parameters, t, largest = sum(p.numel() for p in model.parameters()), sum(learned), max(learned)
    stage, weight_bytes = zero["stage"], next(model.parameters()).element_size()
    share, half, n = t / world_size, weight_bytes == 2, weight_bytes * parameters
    bucket = int(zero.get("reduce_bucket_size", 5e8))  # DeepSpeed's default
    # Reduced in fp32: the bucket's gradients, and their copy.
    reduced = (6 if half else 4) * min(max(bucket, largest), t)
    buffer = weight_bytes * bucket * (2 if zero.get("overlap_comm") else 1)
    if zero.get("offload_optimizer"):  # 16-bit gradients are added up in fp32 on the GPU, others on the host
        return States(n, 4 * share if half else 0, 0, buffer + weight_bytes * largest, reduced, 8 * largest)
    if stage == 0:
        return States(n, 4 * t, 8 * t, 0, 0, 4 * t)
    if stage == 1 and half:  # DeepSpeed's BF16_Optimizer keeps whole fp32 gradients
        return States(n, 4 * t, 12 * share, 0, 2 * t, 6 * t)
    if stage == 1:
        return States(n, 0, 12 * share, 0, 4 * t + buffer, 4 * t + 4 * share)
    if stage == 2:
        step = 8 * largest if half else 4 * share
        return States(n, 4 * share, 12 * share, buffer, reduced + (0 if half else 4 * share), step)
    live = min(parameters, int(zero.get("stage3_max_live_parameters", 1e9)) + largest)
    gathered = weight_bytes * live if world_size > 1 else 2 * bucket
    step = 4 * min(share, int(zero.get("sub_group_size", 1e9)) + largest)  # gradients of so much are copied at a time
    return States(n / world_size, 4 * share, 12 * share, 4 * bucket, gathered + reduced, step)


def host_bytes(zero: Mapping[str, Any], model: nn.Module, world_size: int, share_seconds: float) -> dict[str, float]:
    """Host memory of rank 0, which writes the checkpoints, by what it is for; not all of it is there at once.

    A rank's share of a step is `share_seconds` of padded audio; the rest is as for `deepspeed_states`.
    """
    parameters, t = (sum(p.numel() for p in model.parameters() if p.requires_grad or whole) for whole in (True, False))
    weight_bytes = next(model.parameters()).element_size()
    # Weights, gradients and moments in fp32, weights to send back; in fp32 also the gradients that are added up.
    offloaded = (16 + weight_bytes) * t / world_size + (4 * t if weight_bytes == 4 else 0)
    return {
        "Python and its libraries": LIBRARIES_BYTES,
        "the model as it is loaded": 4 * parameters,
        "frozen weights for checkpoints": 4 * (parameters - t),
        "a checkpoint as it is written": 12 * t,
        "optimizer on the host": offloaded if zero.get("offload_optimizer") else 0,
        "read ahead, pinned": LOADER_BYTES_PER_SECOND * share_seconds,
    }
