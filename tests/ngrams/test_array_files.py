import errno
from pathlib import Path

import numpy as np
import pytest

from asrscale.ngrams.array_files import map_file, new_array, write_array


def test_what_is_written_in_parts_is_read(tmp_path: Path) -> None:
    numbers = np.arange(100, dtype=np.int64) << 40
    with (tmp_path / "a").open("wb") as file:
        for part in (numbers[:7], numbers[7:7], numbers[7::2]):  # an empty part, and one with steps
            write_array(part, file)
    assert map_file(tmp_path / "a").tolist() == [*numbers[:7], *numbers[7::2]]
    (tmp_path / "empty").write_bytes(b"")
    assert len(map_file(tmp_path / "empty")) == 0


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.bool_])
@pytest.mark.parametrize("length", [0, 1, 1_000])
def test_a_new_array_is_zero_and_has_its_room_on_the_disk(dtype: type[np.generic], length: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xff" * 9_000)  # what was there is gone
    array = new_array(tmp_path / "a", length, dtype)
    assert array.shape == (length,) and array.dtype == dtype and not array.any()
    array[:] = 1
    array.base.flush()
    size = max(1, length) * np.dtype(dtype).itemsize
    assert (tmp_path / "a").stat().st_size == size and (tmp_path / "a").stat().st_blocks * 512 >= size
    assert np.fromfile(tmp_path / "a", dtype)[:length].tolist() == [1] * length


def test_a_full_disk_is_an_error_with_its_number() -> None:
    with open("/dev/full", "wb", buffering=0) as file, pytest.raises(OSError) as error:
        write_array(np.zeros(9, np.int64), file)
    assert error.value.errno == errno.ENOSPC
