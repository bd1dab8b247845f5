"""A device that there is not: tensors that say they are on a GPU, computed by the CPU, and what the host reads of them.

A tensor that was left on the host is an error where it meets one of the device, as with CUDA. On `CUDA` there are
forward passes only: torch's backward passes ask CUDA itself for streams. On `WITH_BACKWARD` there are both.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

CUDA = torch.device("cuda", 0)
# The backend of torch that computes later, of which nothing is used but its name: torch knows of a device apart from
# the host, asks it for no streams, and runs its backward passes in the thread that calls them.
WITH_BACKWARD = torch.device("lazy", 0)

# Operations whose result, or its shape, is a value that the host waits for.
READS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique", "repeat_interleave.Tensor")


class OnDevice(Tensor):
    """A tensor of the device that there is not."""

    held: Tensor  # what it holds, on the CPU

    @staticmethod
    def __new__(cls, held: Tensor, device: torch.device) -> "OnDevice":
        layout = dict(strides=held.stride(), storage_offset=held.storage_offset())
        made: OnDevice = Tensor._make_wrapper_subclass(cls, held.shape, dtype=held.dtype, device=device, **layout)
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} outside of the stand-in")

    def tolist(self) -> list[Any]:
        return self.cpu().tolist()  # as torch does for a device of its own


class StandIn(TorchDispatchMode):
    """Computes what is on the device, and counts what the host reads of it."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device
        self.reads: list[str] = []
        self.waits: list[tuple[int, ...]] = []  # shapes of tensors that the host sends, and waits for all before them
        self.upcasts: list[str] = []  # operations that make wider floating-point numbers of those they get
        self.dtypes: dict[str, set[torch.dtype]] = {}  # of the floating-point inputs of each operation

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        own = [tensor for tensor in tensors if isinstance(tensor, OnDevice)]
        target = kwargs.get("device")
        goes_to = None if target is None else torch.device(target).type
        if not own and goes_to != self.device.type:
            return func(*args, **kwargs)

        name = func.name().removeprefix("aten::")
        copies = name.startswith(("_to_copy", "copy_"))
        host = [tensor for tensor in tensors if not isinstance(tensor, OnDevice) and tensor.dim()]
        if "ctc_loss" in name:  # which wants lengths on the host, and would copy them from the device
            host, lengths = [], args[3:5] if "backward" in name else args[2:4]
            self.reads += [name for length in lengths if isinstance(length, OnDevice)]
        if own and host and not copies:
            raise AssertionError(f"{name}: a tensor on the host, {[tuple(tensor.shape) for tensor in host]}")
        leaves = goes_to == "cpu" or (copies and own and not isinstance(args[0], OnDevice))
        if leaves or name.startswith(READS) or _counts_a_mask(name, args):
            self.reads.append(name)
        if copies and host and not (kwargs.get("non_blocking") or args[-1] is True):
            self.waits += [tuple(tensor.shape) for tensor in host]
        self.dtypes.setdefault(name, set()).update(tensor.dtype for tensor in own if tensor.is_floating_point())

        if goes_to == self.device.type:
            kwargs["device"] = "cpu"
        held_args, held_kwargs = tree_map(_held, (args, kwargs))
        if name == "cudnn_batch_norm":  # of CUDA alone
            results = torch.ops.aten.native_batch_norm.default(*held_args, **held_kwargs)
            return tree_map(self._sent, (*results, torch.empty(0, dtype=torch.uint8)))
        result = func(*held_args, **held_kwargs)
        if func._schema.is_mutable and func._schema.arguments[0].is_write:
            return args[0] if func._schema.returns else None
        self._note_upcast(name, own, result)
        if leaves:
            return result
        return tree_map(self._sent, result)

    def _note_upcast(self, name: str, own: list[OnDevice], result: Any) -> None:
        """Of several results the first counts: the others are statistics, as of norms, which kernels keep in fp32."""
        made = next((leaf.dtype for leaf in tree_leaves(result) if isinstance(leaf, Tensor)), None)
        given = [tensor.dtype.itemsize for tensor in own if tensor.is_floating_point() and tensor.dim()]
        if made is not None and made.is_floating_point and given and made.itemsize > min(given):
            self.upcasts.append(name)

    def _sent(self, leaf: Any) -> Any:
        return OnDevice(leaf, self.device) if isinstance(leaf, Tensor) else leaf


def _counts_a_mask(name: str, args: Any) -> bool:
    """Whether rows are chosen by a mask, which the host counts; it need not where all get the same value."""
    if not name.startswith(("index.", "index_put")) or (name.startswith("index_put") and args[2].numel() == 1):
        return False
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])


def _held(leaf: Any) -> Any:
    return leaf.held if isinstance(leaf, OnDevice) else leaf


@contextmanager
def stand_in(patched: pytest.MonkeyPatch, device: torch.device = CUDA) -> Iterator[StandIn]:
    """In it, tensors may be sent to a device, CUDA or WITH_BACKWARD."""
    torch._C._ensureCUDADeviceGuardSet()
    patched.setattr(torch.cuda, "_lazy_init", lambda: None)
    patched.setattr(torch, WITH_BACKWARD.type, torch.cpu, raising=False)  # which checkpointing asks for a generator
    is_reduced = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)  # else attention's products would be in fp32
    try:
        with StandIn(device) as mode:
            yield mode
    finally:
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(is_reduced)


def send(model: nn.Module, device: torch.device = CUDA) -> None:
    """Moves a model to the device."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                there = parameter.detach().to(device)
                module._parameters[name] = nn.Parameter(there, requires_grad=parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.to(device)
