"""What becomes of errors of the disk; tests/training/test_run_promises.py has them at every file operation of a run."""

import errno
import os
import re
from pathlib import Path

import pytest
import torch

from asrscale.common.distributed import World
from asrscale.common.errors import CliError
from asrscale.training.disk_errors import DISK_ERRORS, disk_errors_explained

WORLD = World(rank=0, local_rank=0, world_size=1, device=torch.device("cpu"))


@pytest.mark.parametrize("number", DISK_ERRORS)
def test_a_disk_that_does_not_take_something_is_one_line(number: int) -> None:
    reason = re.escape(f"{os.strerror(number)}: 'a file'")
    line = rf"^the results cannot be written \(.*{reason}\): make room in run, and start again"
    with pytest.raises(CliError, match=line), disk_errors_explained(Path("run"), WORLD, "the results"):
        raise OSError(number, os.strerror(number), "a file")


def test_other_errors_keep_their_traceback() -> None:
    with pytest.raises(FileNotFoundError), disk_errors_explained(Path("run"), WORLD, "the results"):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "a file")
    with pytest.raises(ZeroDivisionError), disk_errors_explained(Path("run"), WORLD, "the results"):
        _ = 1 / 0


def test_where_all_is_well_nothing_happens() -> None:
    with disk_errors_explained(Path("run"), WORLD, "the results"):
        pass
