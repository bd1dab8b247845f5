"""A layer of an encoder that is dropped: it passes its input on, and computes nothing.

Its weights still get gradients, which are zero: ZeRO's buckets count on the same weights in every pass and on every
rank. Shapes: B utterances of a pass, F frames, H hidden, A attention heads.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

Compute = Callable[..., Any]  # the forward pass of a layer


def skip_layer(layer: nn.Module, compute: Compute, hidden: Tensor, settings: Mapping[str, Any]) -> Any:
    """Returns what a dropped layer returns, in the form that its own forward pass has.

    Args:
        layer: The layer.
        compute: Its own forward pass.
        hidden: (B, F, H) what it gets.
        settings: What it gets beside that, by name.
    """
    if _is_fetched_by_hooks(layer):
        return _computed_in_vain(compute, hidden, settings)

    trained = [parameter for parameter in layer.parameters() if parameter.requires_grad]
    passed = _PassOn.apply(hidden, *trained) if trained else hidden
    if "position_bias" not in settings:
        return passed
    position_bias = settings["position_bias"]
    if position_bias is None:  # that of WavLM's first layer, which the others get from it
        position_bias = _position_bias(layer, hidden)
    return passed, position_bias


class _PassOn(torch.autograd.Function):
    """The identity, with a gradient of zero for each of some parameters."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, *parameters: nn.Parameter) -> Tensor:
        ctx.parameters = parameters
        return hidden.view_as(hidden)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        # One number each, seen as many: what collects gradients writes them out one after another.
        zeros = (parameter.new_zeros(()).expand(parameter.shape) for parameter in ctx.parameters)
        return gradient, *zeros


def _position_bias(layer: nn.Module, hidden: Tensor) -> Tensor:
    """Returns the position bias (B × A, F, F) that WavLM's first layer makes for all."""
    B, F, _H = hidden.shape
    attention: Any = layer.attention
    bias: Tensor = attention.compute_bias(F, F)
    return bias.repeat(B, 1, 1)


def _is_fetched_by_hooks(layer: nn.Module) -> bool:
    """Whether ZeRO-3 holds parts of a layer's weights, which hooks on its modules fetch in the same order each time."""
    return any(hasattr(parameter, "ds_id") for parameter in layer.parameters())


def _computed_in_vain(compute: Compute, hidden: Tensor, settings: Mapping[str, Any]) -> Any:
    """Returns what a dropped layer returns after it was computed, and multiplied by zero."""
    output = compute(hidden, **settings)
    if isinstance(output, tuple):
        return hidden + 0.0 * output[0], *output[1:]
    return hidden + 0.0 * output
