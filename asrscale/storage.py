"""Where shards lie: byte ranges of local and remote files, with retries. The only module that knows fsspec.

A remote file is a URL that fsspec knows: s3://, gs://, http://, https:// … Credentials and endpoints come from the
environment, as the URL's own tools take them.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import fsspec

from asrscale.errors import CliError, DataError

# Waits of 0.5, 1, 2 and 4 s outlast what is meant by "try again" (throttling, a lost connection), not an outage.
TRIES, FIRST_WAIT_SECONDS = 5, 0.5
RETRIED_STATUS = (408, 429)  # of HTTP's 400 to 499, which else say that trying again is no use


@dataclass(frozen=True)
class Range:
    """`size` bytes of the file `path` from `start` on."""

    path: str
    start: int
    size: int

    def __str__(self) -> str:
        return f"{self.path} (bytes {self.start:,} to {self.start + self.size:,})"


def is_remote(path: str) -> bool:
    """Whether a path is a URL."""
    return "://" in path


def read_bytes(url: str) -> bytes:
    """All of a remote file.

    Raises:
        FileNotFoundError: It is not there.
        DataError: It cannot be read, after retries.
    """
    system = _file_system(url)

    def read(_: list[int]) -> list[bytes | Exception]:
        try:
            return [system.cat_file(url)]
        except Exception as error:  # every file system raises errors of its own
            return [error]

    [data] = _retried(read, 1)
    if isinstance(data, FileNotFoundError):
        raise data
    if isinstance(data, Exception):
        raise DataError(f"{url} cannot be read: {_line(data)}") from data
    return data


def open_binary(path: str) -> BinaryIO:
    """A local or remote file, to be read in parts.

    Raises:
        OSError: It is not there or cannot be opened.
    """
    if not is_remote(path):
        return open(path, "rb")
    try:
        return cast(BinaryIO, _file_system(path).open(path, "rb"))
    except OSError:
        raise
    except Exception as error:  # every file system raises errors of its own
        raise OSError(_line(error)) from error


def read_ranges(ranges: Sequence[Range]) -> list[bytes | Exception]:
    """Reads ranges, the remote ones concurrently, each up to TRIES times.

    Returns:
        For each range its bytes, fewer where its file ends before; or why it cannot be read although its file can.

    Raises:
        DataError: A file is gone or cannot be read at all; names file and range.
    """
    data = _retried(lambda wanted: _read_once([ranges[i] for i in wanted]), len(ranges))
    for wanted, found in zip(ranges, data, strict=True):
        if isinstance(found, (FileNotFoundError, PermissionError)):
            raise DataError(f"{wanted} cannot be read: {_line(found)}") from found
        if isinstance(found, Exception) and isinstance(probe := _read_once([Range(wanted.path, 0, 1)])[0], Exception):
            raise DataError(f"{wanted} cannot be read, nor the file's beginning: {_line(probe)}") from probe
        if not isinstance(found, Exception) and len(found) > wanted.size:
            raise DataError(f"{wanted} cannot be read: its server sends whole files only, no byte ranges")
    return data


def _retried(read: Callable[[list[int]], list[bytes | Exception]], count: int) -> list[bytes | Exception]:
    """What `read` returns for 0 … count-1, asked again with growing pauses for what failed and may yet succeed."""
    results: dict[int, bytes | Exception] = {}
    wanted, wait_seconds = list(range(count)), FIRST_WAIT_SECONDS
    for left in reversed(range(TRIES)):
        results |= zip(wanted, read(wanted), strict=True)
        wanted = [i for i in wanted if _is_transient(results[i])]
        if not wanted or not left:
            break
        time.sleep(wait_seconds)
        wait_seconds *= 2
    return [results[i] for i in range(count)]


def _is_transient(result: bytes | Exception) -> bool:
    """Whether trying again may help."""
    if isinstance(result, bytes | FileNotFoundError | PermissionError):
        return False
    status = getattr(result, "status", None)  # of aiohttp's errors
    return status is None or not 400 <= status < 500 or status in RETRIED_STATUS


def _read_once(ranges: Sequence[Range]) -> list[bytes | Exception]:
    """One try: local ranges one after another, those of a remote file system at once."""
    data: dict[Range, bytes | Exception] = {r: _read_local(r) for r in ranges if not is_remote(r.path)}
    systems = {r: _file_system(r.path) for r in ranges if is_remote(r.path)}
    for system in set(systems.values()):
        own = [r for r in systems if systems[r] is system]
        data |= zip(own, _read_remote(system, own), strict=True)
    return [data[r] for r in ranges]


def _read_remote(system: Any, ranges: Sequence[Range]) -> list[bytes | Exception]:
    ends = [r.start + r.size for r in ranges]
    try:
        found: list[bytes | Exception] = system.cat_ranges(
            [r.path for r in ranges], [r.start for r in ranges], ends, on_error="return"
        )
        return found
    except Exception as error:  # every file system raises errors of its own
        return [error] * len(ranges)


def _read_local(wanted: Range) -> bytes | Exception:
    try:
        file = os.open(wanted.path, os.O_RDONLY)
        try:
            return os.pread(file, wanted.size, wanted.start)
        finally:
            os.close(file)
    except OSError as error:
        return error


def _file_system(url: str) -> Any:
    """The file system of a URL.

    Raises:
        CliError: No such protocol, or its package is missing.
    """
    try:
        return fsspec.core.url_to_fs(url)[0]
    except (ImportError, ValueError) as error:
        raise CliError(f"{url} cannot be opened ({_line(error)}): pip install 'asrscale[remote]'") from error


def _line(error: Exception) -> str:
    """An error in one line, with its kind where it says nothing more."""
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
