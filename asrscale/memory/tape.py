"""Records, operation by operation, the live bytes, FLOPs and bytes moved of a pass."""

import weakref
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from asrscale.memory.meta_operations import MetaOperations, OperationCost, Scratch, tensors_in


@dataclass(frozen=True)
class Row:
    """What a tape has recorded of one operation, or of several that count as one."""

    live_bytes: float  # after it, with what its kernel needs meanwhile; of several the most
    flops: float
    moved_bytes: float  # read and written


class Tape(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records, after every operation inside `with tape`, the bytes of all storages alive that it has seen.

    A storage counts once, whatever tensors view it, from the operation that returned it until nothing refers to it.
    FLOPs and bytes moved are counted on meta tensors only, and are 0 elsewhere.

    Attributes:
        live_bytes: What is alive now.
        rows: What was recorded of each operation.
    """

    def __init__(self, device_type: str, scratch: Scratch) -> None:
        """Makes a tape that counts storages on devices of a type such as "cpu" or "meta".

        Args:
            device_type: The type of the devices.
            scratch: What kernels allocate inside and free again; counts on meta tensors only.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self.live_bytes = 0
        self.rows: list[Row] = []
        self._device_type = device_type
        self._meta_operations = MetaOperations(scratch) if device_type == "meta" else None
        self._seen: dict[int, weakref.ref[Any]] = {}  # by the address of a storage
        self._folding = False

    def hold(self, value: Any) -> None:
        """Counts the storages of tensors, in nested containers, that were made before or came out of an operation."""
        for tensor in tensors_in(value):
            if tensor.device.type != self._device_type:
                continue
            storage = tensor.untyped_storage()
            address = storage._cdata
            size_bytes = storage.nbytes()
            if size_bytes and address not in self._seen:
                self._seen[address] = weakref.ref(storage, partial(self._release, address, size_bytes))
                self.live_bytes += size_bytes

    def _release(self, address: int, size_bytes: int, _: object) -> None:
        """Stops counting a storage that is gone."""
        del self._seen[address]
        self.live_bytes -= size_bytes

    def begin_fold(self) -> None:
        """Begins one row for the operations until `end_fold`, whose number depends on the batch size."""
        self.rows.append(Row(live_bytes=0.0, flops=0.0, moved_bytes=0.0))
        self._folding = True

    def end_fold(self) -> None:
        """Ends the row of several operations: each gets one of its own again."""
        self._folding = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result, cost = self._run(func, args, kwargs or {})
        self.hold(result)
        row = Row(
            live_bytes=float(self.live_bytes + cost.scratch_bytes),
            flops=cost.flops,
            moved_bytes=cost.moved_bytes,
        )
        if self._folding:
            row = _folded(self.rows.pop(), row)
        self.rows.append(row)
        return result

    def _run(self, operation: Any, args: Any, kwargs: Any) -> tuple[Any, OperationCost]:
        """Returns the result of an operation, and what it costs."""
        if self._meta_operations is None:
            return operation(*args, **kwargs), OperationCost()
        return self._meta_operations.run(operation, args, kwargs)


def _folded(before: Row, row: Row) -> Row:
    """Returns two rows as one."""
    return Row(
        live_bytes=max(before.live_bytes, row.live_bytes),
        flops=before.flops + row.flops,
        moved_bytes=before.moved_bytes + row.moved_bytes,
    )
