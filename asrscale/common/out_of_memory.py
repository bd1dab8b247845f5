"""Memory that runs out while a model computes: how such an error is known, and what is said of it."""

from collections.abc import Iterator
from contextlib import contextmanager

from asrscale.common.errors import OneRankError


def is_out_of_memory(error: Exception) -> bool:
    """Whether an allocator refused: torch's on a GPU or a CPU, those of CUDA's libraries, or Python's."""
    words = ("out of memory", "ALLOC_FAILED", "can't allocate memory")
    return isinstance(error, MemoryError) or any(one in str(error) for one in words)


@contextmanager
def memory_errors_explained(memory_cap_seconds: float) -> Iterator[None]:
    """Raises one line where memory runs out within, which is what `memory_cap_seconds` bounds.

    Raises:
        OneRankError: Memory ran out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise OneRankError(
            f"memory ran out: lower --memory_cap_seconds, which is {memory_cap_seconds:g}, to "
            f"{memory_cap_seconds / 2:g} for example, or end what else uses the memory"
        ) from error
