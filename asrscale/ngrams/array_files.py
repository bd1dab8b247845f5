"""Arrays in files, of more numbers than memory holds.

Where a disk has no room left, an OSError says so: writing to a mapped file without room would end the process by a
signal, and `ndarray.tofile` says only how many bytes it could write.
"""

import os
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
import numpy.typing as npt

Keys: TypeAlias = npt.NDArray[np.int64]


def write_array(array: npt.NDArray[Any], file: IO[bytes]) -> None:
    """Writes the numbers of an array behind what a file has; raises OSError where it cannot."""
    file.write(np.ascontiguousarray(array).data)


def map_file(path: Path) -> Keys:
    """Returns the whole numbers of a file, of which only those that are used take memory."""
    if not path.stat().st_size:
        return np.zeros(0, np.int64)
    return np.memmap(path, np.int64, mode="r")


def new_array(path: Path, length: int, dtype: type[np.generic]) -> npt.NDArray[Any]:
    """Returns an array of zeros in a file, of which only the part that is used takes memory.

    Raises:
        OSError: The disk has no room for all of it.
    """
    size = max(1, length)  # an empty file cannot be mapped
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size * np.dtype(dtype).itemsize)
    return np.memmap(path, dtype, mode="r+", shape=(size,))[:length]
