"""Byte ranges of local and remote files, with retries; copies of whole shards. The only module that knows fsspec.

A remote file is a URL that fsspec knows. Credentials and endpoints come from the environment, as its own tools do it.
"""

import errno
import io
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import fsspec

from asrscale.common.errors import CliError, DataError

Result = TypeVar("Result")


# Waits of 0.5, 1, 2 and 4 s outlast what is meant by "try again" (throttling, a lost connection), not an outage.
TRIES, FIRST_WAIT_SECONDS = 5, 0.5


# An index.parquet is read a column of a shard at a time, some kilobytes each, which lie together: one request for them.
REMOTE_BUFFER_BYTES = 128 * 1024


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


def read_bytes(path: str) -> bytes:
    """All of a small file.

    Raises:
        FileNotFoundError: It is not there.
        DataError: It is remote and cannot be read, after retries.
    """
    if not is_remote(path):
        return Path(path).read_bytes()
    system = _file_system(path)

    data: bytes | Exception
    [data] = _retried(lambda _: [_attempt(system.cat_file, path)], 1)
    if isinstance(data, FileNotFoundError):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from data
    if isinstance(data, Exception):
        raise DataError(f"{path} cannot be read: {error_line(data)}") from data
    return bytes(data)


def open_binary(path: str) -> BinaryIO:
    """Opens a file for reading, of which, if remote, only those parts travel that are read; OSError if it is gone."""
    if not is_remote(path):
        return open(path, "rb")
    [size] = _retried(lambda _: [_size(path)], 1)
    if isinstance(size, Exception):
        raise size
    file: Any = _RemoteFile(_file_system(path), path, cache_type="none", size=size)
    return io.BufferedReader(file, REMOTE_BUFFER_BYTES)


class _RemoteFile(fsspec.spec.AbstractBufferedFile):  # type: ignore[misc]
    """A remote file whose every read is retried like a shard's."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        [data] = read_ranges([Range(self.path, start, end - start)])
        if isinstance(data, Exception):
            raise data
        return data


def _attempt(read: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What a file system returns, or the error that it raises, which every one has its own of."""
    try:
        return read(*arguments, **options)
    except Exception as error:
        return error


def _size(url: str) -> int | Exception:
    size: int | Exception | None = _attempt(_file_system(url).size, url)
    if isinstance(size, FileNotFoundError):  # over HTTP also what is said of a server that fails for a moment
        return OSError(f"{url}: not found, or its server fails ({error_line(size)})")
    return OSError(f"{url}: its server does not tell its size") if size is None else size


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
            raise DataError(f"{wanted} cannot be read: {error_line(found)}") from found
        if isinstance(found, Exception) and isinstance(probe := _read_once([Range(wanted.path, 0, 1)])[0], Exception):
            raise DataError(f"{wanted} cannot be read, nor the file's beginning: {error_line(probe)}") from probe
        if not isinstance(found, Exception) and len(found) > wanted.size:
            raise DataError(f"{wanted} cannot be read: its server sends whole files only, no byte ranges")
    return data


def _retried(attempt: Callable[[list[int]], list[Result | Exception]], count: int) -> list[Result | Exception]:
    """What `attempt` returns for 0 … count-1, asked again with growing pauses for what failed and may yet succeed."""
    results: dict[int, Result | Exception] = {}
    wanted, wait_seconds = list(range(count)), FIRST_WAIT_SECONDS
    for left in reversed(range(TRIES)):
        results |= zip(wanted, attempt(wanted), strict=True)
        wanted = [i for i in wanted if _is_transient(results[i])]
        if not wanted or not left:
            break
        time.sleep(wait_seconds)
        wait_seconds *= 2
    return [results[i] for i in range(count)]


def _is_transient(result: object) -> bool:
    """Whether it is an error and trying again may help."""
    if not isinstance(result, Exception) or isinstance(result, (FileNotFoundError, PermissionError)):
        return False
    status = getattr(result, "status", None)  # of aiohttp's errors
    return status is None or not 400 <= status < 500 or status in RETRIED_STATUS


def _read_once(ranges: Sequence[Range]) -> list[bytes | Exception]:
    """One try: local ranges one after another, those of a remote file system at once."""
    data: dict[Range, bytes | Exception] = {r: read_local(r) for r in ranges if not is_remote(r.path)}
    systems = {r: _file_system(r.path) for r in ranges if is_remote(r.path)}
    for system in set(systems.values()):
        own = [r for r in systems if systems[r] is system]
        paths, starts, ends = zip(*((r.path, r.start, r.start + r.size) for r in own), strict=True)
        found = _attempt(system.cat_ranges, list(paths), list(starts), list(ends), on_error="return")
        data |= zip(own, [found] * len(own) if isinstance(found, Exception) else found, strict=True)
    return [data[r] for r in ranges]


def read_local(wanted: Range) -> bytes | Exception:
    """The bytes of a local range, fewer where its file ends before; or the error that reading raised."""
    try:
        with open(wanted.path, "rb", buffering=0) as file:
            return os.pread(file.fileno(), wanted.size, wanted.start)
    except OSError as error:
        return error


def _file_system(url: str) -> Any:
    """The file system of a URL; CliError where there is no such protocol, or its package is missing."""
    try:
        return fsspec.core.url_to_fs(url)[0]
    except (ImportError, ValueError) as error:
        cure = "pip install s3fs for s3://, aiohttp for http://, gcsfs for gs://"
        raise CliError(f"{url} cannot be opened ({error_line(error)}): {cure}") from error


def error_line(error: Exception) -> str:
    """An error in one line, with its kind where it says nothing more."""
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
