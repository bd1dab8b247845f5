"""What DeepSpeed keeps on each GPU besides the activations of a pass.

The formulas are for DeepSpeed 0.19.8 with the settings of `training.ds_config.resolve_ds_config`: gradients are
accumulated and reduced in fp32. All were measured on CPU ranks; comments name what a term is where that is known.
tests/bench/bench_memory.py repeats the measurement, docs/memory-model.md has the formulas as a table.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

FP32_BYTES = torch.float32.itemsize
FP64_BYTES = torch.float64.itemsize
OPTIMIZER_BYTES = 3 * FP32_BYTES  # of a parameter: fp32 weights and both moments of AdamW

# DeepSpeed's defaults for settings that a configuration leaves out, in elements.
DEFAULT_BUCKET = 5e8
DEFAULT_LIVE_PARAMETERS = 1e9
DEFAULT_SUB_GROUP = 1e9


@dataclass(frozen=True)
class States:
    """Bytes that DeepSpeed keeps on each GPU besides activations.

    What `resident` names is allocated in every pass and step; the rest comes and goes.
    """

    weights: float
    gradients: float
    optimizer: float  # fp32 weights and both moments
    buckets: float  # DeepSpeed's buffers
    backward_bytes: float  # at most in a backward pass, on top
    step_bytes: float  # in an optimizer step, on top
    average: float = 0.0  # the moving average of the weights, if a run keeps one

    @property
    def resident(self) -> dict[str, float]:
        """What is allocated all the time, by name."""
        average = {"moving average": self.average} if self.average else {}
        return {
            "weights": self.weights,
            "gradients": self.gradients,
            "optimizer": self.optimizer,
            "buckets": self.buckets,
        } | average


def deepspeed_states(
    zero: Mapping[str, Any], model: nn.Module, world_size: int, *, keeps_average: bool = False
) -> States:
    """Returns what is kept on each of `world_size` GPUs: by DeepSpeed, and beside its optimizer's states the average.

    Args:
        zero: The resolved "zero_optimization" section.
        model: The model in the precision that it computes in; its content is not read.
        world_size: How many GPUs work together.
        keeps_average: Whether the run keeps a moving average of its weights; it is where AdamW's moments are.
    """
    sizes = _sizes(zero, model, world_size)
    states = _states_of_stage(sizes, zero)
    if not keeps_average or zero.get("offload_optimizer"):
        return states
    averaged = sizes.trained if zero["stage"] == 0 else sizes.share
    return replace(states, average=FP32_BYTES * averaged)


def _states_of_stage(sizes: "_Sizes", zero: Mapping[str, Any]) -> States:
    """Returns what DeepSpeed keeps on a GPU, without an average."""
    stage = zero["stage"]
    if zero.get("offload_optimizer"):
        return _offloaded(sizes, zero)
    if stage == 0:
        return _stage_0(sizes)
    if stage == 1 and sizes.half:
        return _stage_1_half(sizes)
    if stage == 1:
        return _stage_1_fp32(sizes, zero)
    if stage == 2:
        return _stage_2(sizes, zero)
    return _stage_3(sizes, zero)


@dataclass(frozen=True)
class _Sizes:
    """What the formulas of all stages are made of; in elements, unless a name says bytes."""

    parameters: int
    trained: int  # parameters that have a gradient
    largest: int  # elements of the largest trained parameter
    bucket: int  # gradients that are reduced at a time
    element_bytes: int  # of a weight in the precision that the model computes in: 2 or 4
    world_size: int

    @property
    def half(self) -> bool:
        """Whether the model computes in 16 bits."""
        return self.element_bytes == 2

    @property
    def share(self) -> float:
        """Trained parameters whose optimizer states a rank keeps."""
        return self.trained / self.world_size

    @property
    def weights_bytes(self) -> int:
        """Bytes of the whole model in the precision that it computes in."""
        return self.element_bytes * self.parameters

    @property
    def norm_bytes(self) -> int:
        """Copy of a gradient that its norm is computed of, in fp64 (`get_norm_dtype` in deepspeed/runtime/zero)."""
        return FP64_BYTES * self.largest

    @property
    def reduced_bytes(self) -> int:
        """What reducing a bucket in fp32 needs: its gradients, and in 16 bits their copy in fp32 beside them.

        A gradient larger than the bucket is reduced by itself.
        """
        elements = min(max(self.bucket, self.largest), self.trained)
        gradient_bytes = self.element_bytes + FP32_BYTES if self.half else FP32_BYTES
        return gradient_bytes * elements


def _sizes(zero: Mapping[str, Any], model: nn.Module, world_size: int) -> _Sizes:
    """Returns the sizes of a model and of a configuration's buckets."""
    parameters = list(model.parameters())
    trained = [parameter.numel() for parameter in parameters if parameter.requires_grad]
    return _Sizes(
        parameters=sum(parameter.numel() for parameter in parameters),
        trained=sum(trained),
        largest=max(trained),
        bucket=int(zero.get("reduce_bucket_size", DEFAULT_BUCKET)),
        element_bytes=parameters[0].element_size(),
        world_size=world_size,
    )


def _bucket_bytes(sizes: _Sizes, zero: Mapping[str, Any]) -> int:
    """Returns the buffer that stages 1 and 2 collect gradients in; a second one fills while the first is reduced."""
    buffers = 2 if zero.get("overlap_comm") else 1
    return sizes.element_bytes * sizes.bucket * buffers


def _stage_0(sizes: _Sizes) -> States:
    """Returns what every rank keeps where nothing is shared; in fp32, the only precision in which it is allowed.

    The optimizer updates the model's own weights, so that only both moments are added; gradients are added up over the
    ranks, and scaled, where they are (`asrscale.training.flat_gradients`).
    """
    fp32_bytes = FP32_BYTES * sizes.trained
    return States(
        weights=sizes.weights_bytes,
        gradients=fp32_bytes,
        optimizer=2 * fp32_bytes,
        buckets=0,
        backward_bytes=0,
        step_bytes=0,
    )


def _stage_1_half(sizes: _Sizes) -> States:
    """Returns what ZeRO-1 keeps in 16 bits: DeepSpeed's BF16_Optimizer, which keeps whole fp32 gradients."""
    return States(
        weights=sizes.weights_bytes,
        gradients=FP32_BYTES * sizes.trained,
        optimizer=OPTIMIZER_BYTES * sizes.share,
        buckets=0,
        backward_bytes=sizes.element_bytes * sizes.trained,  # the 16-bit gradients of a pass
        step_bytes=6 * sizes.trained,
    )


def _stage_1_fp32(sizes: _Sizes, zero: Mapping[str, Any]) -> States:
    """Returns what ZeRO-1 keeps in fp32: gradients come and go, and a step makes a flat copy of a rank's share."""
    gradient_bytes = FP32_BYTES * sizes.trained
    flat_bytes = FP32_BYTES * sizes.share
    return States(
        weights=sizes.weights_bytes,
        gradients=0,
        optimizer=OPTIMIZER_BYTES * sizes.share,
        buckets=0,
        backward_bytes=gradient_bytes + _bucket_bytes(sizes, zero),
        step_bytes=gradient_bytes + flat_bytes,
    )


def _stage_2(sizes: _Sizes, zero: Mapping[str, Any]) -> States:
    """Returns what ZeRO-2 keeps: a rank's share of gradients and optimizer states, and the buffer of a bucket.

    In fp32 a second copy of the share of the gradients exists for a while, in a pass and in a step.
    """
    gradient_bytes = FP32_BYTES * sizes.share
    return States(
        weights=sizes.weights_bytes,
        gradients=gradient_bytes,
        optimizer=OPTIMIZER_BYTES * sizes.share,
        buckets=_bucket_bytes(sizes, zero),
        backward_bytes=sizes.reduced_bytes + (0 if sizes.half else gradient_bytes),
        step_bytes=sizes.norm_bytes if sizes.half else gradient_bytes,
    )


def _offloaded(sizes: _Sizes, zero: Mapping[str, Any]) -> States:
    """Returns what ZeRO-2 keeps where the optimizer and its states are on the host.

    16-bit gradients are added up in fp32 on the GPU, others on the host.
    """
    return States(
        weights=sizes.weights_bytes,
        gradients=FP32_BYTES * sizes.share if sizes.half else 0,
        optimizer=0,
        buckets=_bucket_bytes(sizes, zero) + sizes.element_bytes * sizes.largest,
        backward_bytes=sizes.reduced_bytes,
        step_bytes=sizes.norm_bytes,
    )


def _stage_3(sizes: _Sizes, zero: Mapping[str, Any]) -> States:
    """Returns what ZeRO-3 keeps: a share of everything; a pass gathers weights, a step copies gradients.

    Weights are gathered up to `stage3_max_live_parameters`, and gradients copied by `sub_group_size`: the parameter
    that crosses a limit is whole.
    """
    live_limit = int(zero.get("stage3_max_live_parameters", DEFAULT_LIVE_PARAMETERS))
    live = min(sizes.parameters, live_limit + sizes.largest)
    gathered_bytes = sizes.element_bytes * live if sizes.world_size > 1 else 2 * sizes.bucket

    sub_group = int(zero.get("sub_group_size", DEFAULT_SUB_GROUP))
    copied = min(sizes.share, sub_group + sizes.largest)

    return States(
        weights=sizes.weights_bytes / sizes.world_size,
        gradients=FP32_BYTES * sizes.share,
        optimizer=OPTIMIZER_BYTES * sizes.share,
        buckets=4 * sizes.bucket,
        backward_bytes=gathered_bytes + sizes.reduced_bytes,
        step_bytes=FP32_BYTES * copied,
    )
