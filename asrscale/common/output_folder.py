"""The folder that a build writes to: its lock, and errors of its disk."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asrscale.common.errors import CliError
from asrscale.common.lock_files import open_lock, take_lock

_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def disk_errors_as_cli_errors(flag: str, folder: str) -> Iterator[None]:
    """Raises a CliError that names flag and place for an OSError raised within, such as for a full disk.

    Args:
        flag: What to correct: a flag, or a variable of the environment.
        folder: The place to name where the OSError names none.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL_DISK:
            cure = "free some room and run it again"
        else:
            cure = "give a folder that can be written to"
        place = error.filename or folder
        raise CliError(f"{flag} {place}: {error.strerror or error}: {cure}") from error


def check_writable(flag: str, file: Path) -> None:
    """Checks that a file can be written; its folder is made.

    Raises:
        CliError: It cannot.
    """
    with disk_errors_as_cli_errors(flag, str(file)):
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.is_dir():
            raise CliError(f"{flag} {file} is a folder: give a file")
        with tempfile.TemporaryFile(dir=file.parent) as probe:
            probe.write(b"-")
            probe.flush()


@contextmanager
def only_writer(out: str, part: str = "") -> Iterator[None]:
    """Makes the folder `out` and locks it while the context lasts.

    Args:
        out: The folder.
        part: Name of a part of an array job; different parts may write at the same time.

    Raises:
        CliError: Another build (of the same part) is writing to the folder, or it cannot be written to.
    """
    with disk_errors_as_cli_errors("--out", out):
        os.makedirs(out, exist_ok=True)
        with open_lock(Path(out, f".lock{part}")) as lock:
            try:
                take_lock(lock)  # released when the process ends, however it ends
            except BlockingIOError:
                raise CliError(f"another build is writing to {out}: wait for it, or give another --out") from None
            yield
