"""A device that there is not: tensors that say they are on a GPU, computed by the CPU, and what the host reads of them.

A tensor that was left on the host is an error where it meets one of the device, as with CUDA. Forward passes only:
torch's backward asks CUDA itself for streams.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("cuda", 0)

# Operations whose result, or its shape, is a value that the host waits for.
READS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique", "repeat_interleave.Tensor")


class OnDevice(Tensor):
    """A tensor of the device that there is not."""

    held: Tensor  # what it holds, on the CPU

    @staticmethod
    def __new__(cls, held: Tensor) -> "OnDevice":
        layout = dict(strides=held.stride(), storage_offset=held.storage_offset())
        made: OnDevice = Tensor._make_wrapper_subclass(cls, held.shape, dtype=held.dtype, device=DEVICE, **layout)
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} outside of the stand-in")


class StandIn(TorchDispatchMode):
    """Computes what is on the device, and counts what the host reads of it."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []
        self.dtypes: dict[str, set[torch.dtype]] = {}  # of the floating-point inputs of each operation

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        own = [tensor for tensor in tensors if isinstance(tensor, OnDevice)]
        target = kwargs.get("device")
        goes_to = None if target is None else torch.device(target).type
        if not own and goes_to != "cuda":
            return func(*args, **kwargs)

        name = func.name().removeprefix("aten::")
        copies = name.startswith(("_to_copy", "copy_"))
        host = [tensor for tensor in tensors if not isinstance(tensor, OnDevice) and tensor.dim()]
        if "ctc_loss" in name:  # which wants lengths on the host, and would copy them from the device
            host, lengths = [], args[2:4]
            self.reads += [name for length in lengths if isinstance(length, OnDevice)]
        if own and host and not copies:
            raise AssertionError(f"{name}: a tensor on the host, {[tuple(tensor.shape) for tensor in host]}")
        leaves = goes_to == "cpu" or (copies and own and not isinstance(args[0], OnDevice))
        if leaves or name.startswith(READS):
            self.reads.append(name)
        self.dtypes.setdefault(name, set()).update(tensor.dtype for tensor in own if tensor.is_floating_point())

        if goes_to == "cuda":
            kwargs["device"] = "cpu"
        held_args, held_kwargs = tree_map(_held, (args, kwargs))
        if name == "cudnn_batch_norm":  # of CUDA alone
            results = torch.ops.aten.native_batch_norm.default(*held_args, **held_kwargs)
            return tree_map(OnDevice, (*results, torch.empty(0, dtype=torch.uint8)))
        result = func(*held_args, **held_kwargs)
        if func._schema.is_mutable and func._schema.arguments[0].is_write:
            return args[0]
        if leaves:
            return result
        return tree_map(lambda leaf: OnDevice(leaf) if isinstance(leaf, Tensor) else leaf, result)


def _held(leaf: Any) -> Any:
    return leaf.held if isinstance(leaf, OnDevice) else leaf


@contextmanager
def stand_in(patched: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """In it, tensors may be sent to DEVICE."""
    torch._C._ensureCUDADeviceGuardSet()
    patched.setattr(torch.cuda, "_lazy_init", lambda: None)
    with StandIn() as mode:
        yield mode


def send(model: nn.Module) -> None:
    """Moves a model to the device."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(parameter.detach().to(DEVICE), requires_grad=False)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.to(DEVICE)
