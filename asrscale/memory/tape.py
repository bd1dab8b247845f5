"""Records, operation by operation, the live bytes, FLOPs and bytes moved of a pass."""

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

Scratch: TypeAlias = dict[Any, Callable[[Any, Any], int]]  # bytes of an operation's arguments and result


aten = torch.ops.aten


class Tape(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down, after every operation, the bytes of all storages alive on a device that it has seen.

    Attributes:
        live_bytes: Now.
        forward_rows: How many rows there were when the logits were known, and when the loss was.
        rows: For each operation the live bytes (with what its kernel needs meanwhile), FLOPs and bytes moved.
    """

    def __init__(self, device_type: str, scratch: Scratch) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live_bytes = 0
        self.forward_rows: list[int] = []
        self.rows: list[tuple[float, float, float]] = []
        self._device_type, self._scratch = device_type, scratch
        self._seen: dict[int, weakref.ref[Any]] = {}
        self._known: dict[Any, Any] = {}
        self._folded = False

    def hold(self, value: Any) -> None:
        """Counts the storages of tensors that were made before, or came out of an operation."""
        for tensor in (one for one in tensors_in(value) if one.device.type == self._device_type):
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if size and key not in self._seen:
                self._seen[key] = weakref.ref(storage, partial(self._release, key, size))
                self.live_bytes += size

    def _release(self, key: int, size: int, _: object) -> None:
        del self._seen[key]
        self.live_bytes -= size

    def fold(self, on: bool) -> None:
        """Begins or ends one row for many operations, whose number depends on the batch size."""
        self.rows += [(0.0, 0.0, 0.0)] if on else []
        self._folded = on

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result, flops, moved_bytes, scratch_bytes = self._run(func, args, kwargs or {})
        self.hold(result)
        live_bytes = float(self.live_bytes + scratch_bytes)
        if self._folded:
            before = self.rows.pop()
            live_bytes, flops, moved_bytes = max(before[0], live_bytes), before[1] + flops, before[2] + moved_bytes
        self.rows.append((live_bytes, flops, moved_bytes))
        return result

    def _run(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, float, float, int]:
        """The result of an operation, its FLOPs, bytes read and written, and bytes that its kernel needs meanwhile."""
        if self._device_type != "meta":
            return func(*args, **kwargs), 0.0, 0.0, 0
        if func._schema.is_mutable or any(returned.alias_info for returned in func._schema.returns):
            return func(*args, **kwargs), 0.0, tensor_bytes((args, kwargs)) * func._schema.is_mutable, 0
        key = func, *map(_signature, tree_leaves((args, kwargs)))
        if key not in self._known:  # layers are alike, and meta kernels are slow: they are written in Python
            result = _KERNELS.get(func, func)(*args, **kwargs)
            count = flop_registry.get(func._overloadpacket)
            flops = float(count(*args, **kwargs, out_val=result)) if count else 0.0
            scratch_bytes = self._scratch[func](args, result) if func in self._scratch else 0
            self._known[key] = tree_map(_maker, result), flops, tensor_bytes((args, kwargs, result)), scratch_bytes
        makers, *costs = self._known[key]
        return tree_map(lambda make: make(), makers), *costs


def _signature(value: Any) -> Any:
    """What of an argument decides the shapes that come out."""
    return (value.dtype, value.shape, value.stride()) if isinstance(value, Tensor) else (type(value), value)


def _maker(value: Any) -> Callable[[], Any]:
    """Makes new meta tensors like one, or hands out what is none."""
    if isinstance(value, Tensor):
        return partial(torch.empty_strided, value.shape, value.stride(), dtype=value.dtype, device="meta")
    return lambda: value


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors in a nest of containers."""
    return [one for one in tree_leaves(value) if isinstance(one, Tensor)]


def tensor_bytes(value: Any) -> int:
    """The bytes of all tensors in a nest of containers."""
    return sum(x.numel() * x.element_size() for x in tensors_in(value))


def _ctc_loss(log_probs: Tensor, labels: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
    """The native kernel's losses (B,) and log_alpha (B, F, 2L + 1)."""
    F, B, _V = log_probs.shape
    return log_probs.new_empty(B), log_probs.new_empty(B, F, 2 * labels.shape[1] + 1)


# Kernels that torch has for CPU and CUDA but not for meta.
_KERNELS: dict[Any, Callable[..., Any]] = {
    aten._ctc_loss.Tensor: _ctc_loss,
    aten._ctc_loss_backward.Tensor: lambda gradient, log_probs, *_, **__: torch.empty_like(log_probs),
}
