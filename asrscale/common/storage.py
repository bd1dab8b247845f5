"""Byte ranges of local and remote files, with retries. Owns fsspec.

A remote file is a URL that fsspec can open. Credentials and endpoints come from the environment, as
for its own tools.

Many functions here return errors instead of raising them, so that one range that cannot be read costs no other.
"""

import errno
import io
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import fsspec

from asrscale.common.errors import CliError, DataError

Item = TypeVar("Item")
Result = TypeVar("Result")

# Waits of 0.5, 1, 2 and 4 s outlast what is meant by "try again" (throttling, a lost connection), not an outage.
TRIES = 5
FIRST_WAIT_SECONDS = 0.5
RETRY_SECONDS = 60.0  # tries that fail slowly, as those of a server that trickles, are fewer

# An index.parquet is read a column of a shard at a time, some kilobytes each, which lie together: one request for them.
REMOTE_BUFFER_BYTES = 128 * 1024

HUB_PROTOCOL = "hf://"
REFUSED_STATUS = (401, 403)

# Of HTTP's 400 to 499, these two mean "try again" (request timeout, too many requests); the others, that it is no use.
RETRIED_STATUS = (408, 429)


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


def read_bytes(path: str, *, stays: bool = False) -> bytes:
    """Reads all of a small file.

    Args:
        path: The file.
        stays: Whether an answer over HTTP that leads to another server is refused.

    Raises:
        FileNotFoundError: It does not exist.
        DataError: It is remote and cannot be read, after retries.
    """
    if not is_remote(path):
        return Path(path).read_bytes()

    system = _file_system(path, stays=stays)
    [data] = _retried(lambda urls: [_attempt(system.cat_file, url) for url in urls], [path])
    if isinstance(data, FileNotFoundError):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from data
    if isinstance(data, Exception):
        raise DataError(f"{path} cannot be read: {error_line(data)}") from data
    return bytes(data)


def open_binary(path: str) -> BinaryIO:
    """Opens a file for reading; of a remote one, only those parts travel that are read.

    Raises:
        OSError: It does not exist, or its size cannot be found out.
    """
    if not is_remote(path):
        return open(path, "rb")

    [size] = _retried(lambda urls: [_size(url) for url in urls], [path])
    if isinstance(size, Exception):
        raise size
    file: Any = _RemoteFile(_file_system(path), path, cache_type="none", size=size)
    return io.BufferedReader(file, REMOTE_BUFFER_BYTES)


def list_files(url: str) -> list[str]:
    """Returns the URLs of all files below a remote folder, sorted; of a file, its own.

    Raises:
        OSError: There is no such folder, or it cannot be listed.
    """
    system = _file_system(url)
    [names] = _retried(lambda urls: [_attempt(system.find, name) for name in urls], [url])
    if isinstance(names, Exception):
        raise OSError(f"{url}: cannot be listed ({error_line(names)})") from names
    return sorted(system.unstrip_protocol(name) for name in names)


class _RemoteFile(fsspec.spec.AbstractBufferedFile):  # type: ignore[misc]
    """A remote file whose every read is retried like a shard's."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        wanted = Range(self.path, start, end - start)
        [data] = read_ranges([wanted])
        if isinstance(data, OSError):
            raise data
        if isinstance(data, Exception):  # one of the client's own, such as for an answer that is shorter than it says
            raise OSError(f"{wanted} cannot be read: {error_line(data)}") from data
        return data


def _size(url: str) -> int | Exception:
    """Returns the size of a remote file in bytes, or why it cannot be found out."""
    size: int | Exception | None = _attempt(_file_system(url).size, url)
    if isinstance(size, FileNotFoundError) and url.startswith("http"):
        # fsspec raises it over HTTP for a server that fails for a moment, too; an OSError is tried again.
        return OSError(f"{url}: not found, or its server fails ({error_line(size)})")
    if size is None:
        return OSError(f"{url}: its server does not give its size")
    return size


def read_ranges(ranges: Sequence[Range]) -> list[bytes | Exception]:
    """Reads ranges, the remote ones concurrently, each up to TRIES times.

    Returns:
        For each range its bytes, fewer where its file ends before; or why it cannot be read although its file can.

    Raises:
        DataError: A file is missing or cannot be read at all; names file and range.
    """
    for wanted in ranges:
        if wanted.start < 0 or wanted.size < 0:
            raise DataError(f"{wanted} cannot be read: no file has such bytes, its index is damaged")
    data = _retried(_read_once, ranges)
    for wanted, found in zip(ranges, data, strict=True):
        _check_file(wanted, found)
    return data


def _check_file(wanted: Range, found: bytes | Exception) -> None:
    """Raises DataError where what reading a range returned means that its whole file is of no use."""
    if not isinstance(found, Exception):
        if len(found) > wanted.size:
            raise DataError(f"{wanted} cannot be read: its server sends whole files only, no byte ranges")
        return
    if wanted.path.startswith(HUB_PROTOCOL) and _status(found) in REFUSED_STATUS:
        cure = "accept its terms on its page at huggingface.co, and log in with `hf auth login` or set HF_TOKEN"
        raise CliError(f"{wanted.path}: the hub refuses access ({error_line(found)}): {cure}") from found
    if isinstance(found, FileNotFoundError | PermissionError):
        raise DataError(f"{wanted} cannot be read: {error_line(found)}") from found
    [beginning] = _read_once([Range(wanted.path, 0, 1)])
    if isinstance(beginning, Exception):
        raise DataError(f"{wanted} cannot be read, nor the file's beginning: {error_line(beginning)}") from beginning


def _read_once(ranges: Sequence[Range]) -> list[bytes | Exception]:
    """Tries each range once: local ones one after another, those of a remote file system at the same time."""
    data: dict[Range, bytes | Exception] = {}
    by_system: dict[Any, list[Range]] = {}
    for wanted in dict.fromkeys(ranges):
        if is_remote(wanted.path):
            by_system.setdefault(_file_system(wanted.path), []).append(wanted)
        else:
            data[wanted] = read_local(wanted)
    for system, remote in by_system.items():
        data |= zip(remote, _read_remote(system, remote), strict=True)
    return [data[wanted] for wanted in ranges]


def _read_remote(system: Any, ranges: Sequence[Range]) -> list[bytes | Exception]:
    """Reads ranges of one remote file system, once; at the same time, where it can do that."""
    # Others read by a buffer of megabytes, of which most would be thrown away.
    options = {} if getattr(system, "async_impl", False) else {"cache_type": "none"}
    found: list[bytes | Exception] | Exception = _attempt(
        system.cat_ranges,
        [wanted.path for wanted in ranges],
        [wanted.start for wanted in ranges],
        [wanted.start + wanted.size for wanted in ranges],
        on_error="return",
        **options,
    )
    return [found] * len(ranges) if isinstance(found, Exception) else found


def read_local(wanted: Range) -> bytes | Exception:
    """Returns the bytes of a local range, fewer where its file ends before, or the error that reading raised."""
    try:
        with open(wanted.path, "rb", buffering=0) as file:
            # More than the file has would be taken from memory all the same.
            room = os.fstat(file.fileno()).st_size - wanted.start
            size = min(wanted.size, room)
            return os.pread(file.fileno(), size, wanted.start) if size > 0 else b""
    except OSError as error:
        return error


def error_line(error: Exception) -> str:
    """Returns an error in one line; where it has no message, its kind."""
    message = getattr(error, "strerror", None) or str(error)
    return " ".join(message.split()) or type(error).__name__


def _retried(
    attempt: Callable[[Sequence[Item]], list[Result | Exception]], items: Sequence[Item]
) -> list[Result | Exception]:
    """Returns what `attempt` returns for each item; those that failed and may yet succeed are tried again.

    Pauses between tries double; none begins when RETRY_SECONDS are over.
    """
    last_seconds = time.monotonic() + RETRY_SECONDS
    results = attempt(items)
    for retry in range(TRIES - 1):
        failed = [number for number, result in enumerate(results) if _is_transient(result)]
        if not failed or time.monotonic() > last_seconds:
            break
        time.sleep(FIRST_WAIT_SECONDS * 2**retry)
        again = attempt([items[number] for number in failed])
        for number, result in zip(failed, again, strict=True):
            results[number] = result
    return results


def _is_transient(result: object) -> bool:
    """Whether a result is an error and trying again may help."""
    if not isinstance(result, Exception):
        return False
    if isinstance(result, FileNotFoundError | PermissionError):
        return False
    if isinstance(result, ValueError) and not isinstance(result, json.JSONDecodeError):  # a name that is not allowed
        return False
    status = _status(result)
    return status is None or not 400 <= status < 500 or status in RETRIED_STATUS


def _status(error: Exception) -> int | None:
    """Returns the HTTP status of an error of aiohttp or of the hub's library; None for others."""
    status: int | None = getattr(error, "status", None)
    return getattr(getattr(error, "response", None), "status_code", status)


def _attempt(read: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Returns what a file system's function returns, or the error that it raises: each has errors of its own."""
    try:
        return read(*arguments, **options)
    except Exception as error:
        return error


def _file_system(url: str, *, stays: bool = False) -> Any:
    """Returns the file system of a URL; `stays` as for `read_bytes`.

    Raises:
        CliError: There is no such protocol, or its package is missing.
    """
    options = {}
    try:
        if url.startswith("http"):
            from asrscale.common import http_client  # aiohttp is optional

            options = {"get_client": http_client.staying_client if stays else http_client.bounded_client}
        return fsspec.core.url_to_fs(url, **options)[0]
    except (ImportError, ValueError) as error:
        cure = "pip install s3fs for s3://, aiohttp for http://, gcsfs for gs://"
        raise CliError(f"{url} cannot be opened ({error_line(error)}): {cure}") from error
