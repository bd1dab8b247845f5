"""Runs operations on meta tensors, which have a shape and no content, and counts what they would cost on a device.

Shapes: B utterances of a pass, F frames, L labels, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten

# For an operation: the bytes that its kernel allocates inside and frees again, of its arguments and its result.
Scratch: TypeAlias = dict[Any, Callable[[Any, Any], int]]


@dataclass(frozen=True)
class OperationCost:
    """What one operation costs a device."""

    flops: float = 0.0
    moved_bytes: int = 0  # read and written
    scratch_bytes: int = 0  # that its kernel allocates inside and frees again


@dataclass(frozen=True)
class _KnownOperation:
    """What an operation returns for arguments of some shapes, and what it costs."""

    makers: Any  # the containers of its result, with a function in each place that makes what stands there
    cost: OperationCost


class MetaOperations:
    """Runs operations on meta tensors.

    The layers of a model are alike and meta kernels are slow, because they are written in Python: each operation runs
    once for arguments of the same shapes, and its result is copied from then on.
    """

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._known: dict[tuple[Any, ...], _KnownOperation] = {}

    def run(self, operation: Any, args: Any, kwargs: Any) -> tuple[Any, OperationCost]:
        """Returns the result of an operation, and what it would cost on a device."""
        schema = operation._schema
        if schema.is_mutable:  # it returns its own argument, of which a copy would be another tensor
            result = operation(*args, **kwargs)
            return result, OperationCost(moved_bytes=tensor_bytes((args, kwargs)))
        if any(returned.alias_info for returned in schema.returns):  # a view, which costs nothing
            return operation(*args, **kwargs), OperationCost()

        key = (operation, *map(_signature, tree_leaves((args, kwargs))))
        if key not in self._known:
            self._known[key] = self._try(operation, args, kwargs)
        known = self._known[key]
        return tree_map(lambda make: make(), known.makers), known.cost

    def _try(self, operation: Any, args: Any, kwargs: Any) -> _KnownOperation:
        """Runs an operation to see what it returns and what it costs."""
        kernel = _KERNELS.get(operation, operation)
        result = kernel(*args, **kwargs)

        count_flops = flop_registry.get(operation._overloadpacket)
        count_scratch_bytes = self._scratch.get(operation)
        cost = OperationCost(
            flops=float(count_flops(*args, **kwargs, out_val=result)) if count_flops else 0.0,
            moved_bytes=tensor_bytes((args, kwargs, result)),
            scratch_bytes=count_scratch_bytes(args, result) if count_scratch_bytes else 0,
        )
        return _KnownOperation(makers=tree_map(_maker, result), cost=cost)


def tensors_in(value: Any) -> list[Tensor]:
    """Returns all tensors in nested containers."""
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def tensor_bytes(value: Any) -> int:
    """Returns the bytes of all tensors in nested containers."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors_in(value))


def _signature(value: Any) -> Any:
    """Returns what of an argument decides the shapes of a result."""
    if isinstance(value, Tensor):
        return value.dtype, value.shape, value.stride()
    return type(value), value


def _maker(value: Any) -> Callable[[], Any]:
    """Returns a function that makes meta tensors like `value`; of something else, one that returns it."""
    if isinstance(value, Tensor):
        return partial(torch.empty_strided, value.shape, value.stride(), dtype=value.dtype, device="meta")
    return lambda: value


def _ctc_loss(log_probs: Tensor, labels: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
    """Returns losses (B,) and log_alpha (B, F, 2L + 1) of log_probs (F, B, V), as torch's native kernel does."""
    F, B, _V = log_probs.shape
    L = labels.shape[1]
    return log_probs.new_empty(B), log_probs.new_empty(B, F, 2 * L + 1)


def _ctc_loss_backward(_gradient: Tensor, log_probs: Tensor, *_: Any, **__: Any) -> Tensor:
    """Returns the gradient (F, B, V) of log_probs."""
    return torch.empty_like(log_probs)


# Kernels that torch has for CPU and CUDA but not for meta.
_KERNELS: dict[Any, Callable[..., Any]] = {
    aten._ctc_loss.Tensor: _ctc_loss,
    aten._ctc_loss_backward.Tensor: _ctc_loss_backward,
}
