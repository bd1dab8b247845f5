"""Files that say who is at work in a folder, by a lock on them that ends with the process that holds it.

A lock can be taken by whoever may open its file, also for reading: the files are for their owner alone.
"""

import errno
import fcntl
import os
import stat
import time
from typing import IO

_MODE = stat.S_IRUSR | stat.S_IWUSR  # 0600
_POLL_SECONDS = 0.05


def open_lock(path: str | os.PathLike[str]) -> IO[str]:
    """Opens the file of a lock for reading and writing, and makes it where it is missing; takes no lock.

    Raises:
        OSError: It is no file or a link, another user's, or its folder cannot be written to.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, _MODE)
    lock = os.fdopen(descriptor, "r+", encoding="utf-8")
    try:
        _check_is_own(lock, path)
    except OSError:
        lock.close()
        raise
    return lock


def _check_is_own(lock: IO[str], path: str | os.PathLike[str]) -> None:
    """Closes a lock's file to other users, as older versions did not; raises OSError where it is not ours to close."""
    found = os.fstat(lock.fileno())
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        raise OSError(errno.EINVAL, "no file of its own", os.fspath(path))
    if stat.S_IMODE(found.st_mode) == _MODE:
        return
    if found.st_uid != os.geteuid():
        raise PermissionError(errno.EACCES, "another user's lock, which any user can take", os.fspath(path))
    os.fchmod(lock.fileno(), _MODE)


def take_lock(lock: IO[str], *, patience_seconds: float = 0.0) -> None:
    """Takes a lock until its file is closed.

    Raises:
        BlockingIOError: Another process still holds it after `patience_seconds`.
    """
    deadline_seconds = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline_seconds:
                raise
        time.sleep(_POLL_SECONDS)
