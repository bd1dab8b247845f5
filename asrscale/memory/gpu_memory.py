"""What a GPU's memory holds at its peak, and how much of it is left for activations."""

from asrscale.memory.deepspeed_states import States
from asrscale.memory.gpus import GIB, Gpu
from asrscale.memory.pass_cost import PassCost

# What cannot be traced; docs/memory-model.md has the sources.
CONTEXT_BYTES = int(0.5 * GIB)  # CUDA's context with lazily loaded kernels: 0.3 to 0.5 GB
CUBLAS_BYTES = 2 * 8_519_680  # workspaces of the forward and the backward thread
NCCL_BYTES = int(0.7 * GIB)  # of several GPUs: 0.54 to 0.69 GB a communicator
FRAGMENTATION = 0.05  # of what is allocated: replays of the caching allocator needed 0.7 to 4.5 %, checkpointed less


def outside_bytes(gpu_count: int) -> float:
    """Returns what a GPU holds that torch's allocator does not count, where `gpu_count` work together."""
    nccl_bytes = NCCL_BYTES if gpu_count > 1 else 0
    return float(CONTEXT_BYTES + CUBLAS_BYTES + nccl_bytes)


def activation_budget_bytes(gpu: Gpu, states: States, gpu_count: int) -> float:
    """Returns what is left for activations in a pass; negative where not even an optimizer step fits."""
    allocator_bytes = (gpu.memory_gib * GIB - outside_bytes(gpu_count)) / (1 + FRAGMENTATION)
    room_bytes = allocator_bytes - sum(states.resident.values())
    if room_bytes < states.step_bytes:
        return room_bytes - states.step_bytes
    return room_bytes - states.backward_bytes


def allocated_parts(states: States, cost: PassCost, utterances: int) -> dict[str, float]:
    """Returns what torch's allocator holds at the peak, be it in a pass or in an optimizer step, by name.

    Args:
        states: What DeepSpeed keeps.
        cost: Passes of the longest utterances.
        utterances: How many of them the largest pass holds.
    """
    timeline_bytes = cost.timeline_bytes(utterances)
    activations_bytes = float(timeline_bytes.max())
    if activations_bytes + states.backward_bytes < states.step_bytes:
        return states.resident | {"optimizer step": states.step_bytes}

    # What the loss adds to the logits is at most what is alive at its end and was not before.
    before_bytes = float(timeline_bytes[cost.forward_rows.logits])
    after_bytes = float(timeline_bytes[cost.forward_rows.loss])
    loss_bytes = min(activations_bytes, max(0.0, after_bytes - before_bytes))
    return states.resident | {
        "activations": activations_bytes - loss_bytes,
        "logits and loss": loss_bytes,
        "reduction": states.backward_bytes,
    }


def peak_parts(states: States, cost: PassCost, utterances: int, gpu_count: int) -> dict[str, float]:
    """Returns what a GPU's memory holds at the peak, by name: `allocated_parts`, and what is not for tensors."""
    parts = allocated_parts(states, cost, utterances)
    return parts | {
        "fragmentation": FRAGMENTATION * sum(parts.values()),
        "CUDA, cuBLAS, NCCL": outside_bytes(gpu_count),
    }
