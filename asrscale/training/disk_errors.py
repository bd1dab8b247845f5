"""What becomes of a run whose folder cannot be written to: one line, on all ranks."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asrscale.common import distributed
from asrscale.common.distributed import World
from asrscale.common.errors import CliError

# What the disk is to blame for: it is full or over a quota, takes no file so large, is read-only or broken.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


@contextmanager
def disk_errors_explained(run_folder: Path, world: World, what: str) -> Iterator[None]:
    """Ends all ranks with one line where the disk does not take `what`, which is written within.

    A collective, at its end: what is inside must be none.

    Raises:
        CliError: The disk of some rank did not take it; on all ranks.
    """
    problem = None
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        problem = str(error)
    problems = [one for one in distributed.gather_objects(problem, world) if one is not None]
    if problems:
        raise CliError(f"{what} cannot be written ({problems[0]}): {disk_cure(run_folder)}")


def disk_cure(run_folder: Path) -> str:
    """What to do about a disk that is full."""
    return f"make room in {run_folder}, and start again with the same command"
