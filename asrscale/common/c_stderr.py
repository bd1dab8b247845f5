"""Keeps C libraries that print notes, as mpg123 does about damaged mp3s, from printing them to standard error."""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock

_lock = Lock()
_users = 0


@contextmanager
def silent_c_stderr() -> Iterator[None]:
    """Lets what C libraries print to their `stderr` vanish, in all threads, while any is in this context.

    What Python prints takes another way, and so do a crash and the traceback of `faulthandler`.
    """
    global _users
    streams = _streams()
    if streams is None:
        yield
        return
    stderr, loud, nowhere = streams
    with _lock:
        _users += 1
        stderr.value = nowhere
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                stderr.value = loud


@lru_cache
def _streams() -> tuple[ctypes.c_void_p, int, int] | None:
    """Returns the C library's variable `stderr`, its value, and a stream to nowhere; None where it is no variable."""
    if platform.libc_ver()[0] != "glibc":
        return None
    library = ctypes.CDLL(None)
    library.fopen.restype = ctypes.c_void_p
    nowhere = library.fopen(b"/dev/null", b"w")
    stderr = ctypes.c_void_p.in_dll(library, "stderr")
    if not nowhere or not stderr.value:
        return None
    return stderr, stderr.value, nowhere
