"""Copies of whole remote shards on a node's own disk, shared by all its ranks.

Ranks agree by files alone: a copy appears at once under its name, after it was written under another and had the hash
that dataset.json promises; a lock file beside it says who writes. Nothing is believed that another user could have
written, and no link is followed.
"""

import errno
import hashlib
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from asrscale.common.lock_files import open_lock, take_lock
from asrscale.common.storage import Range, error_line, read_local, read_ranges

# A shard is copied in pieces, of which a few travel at once.
PIECE_BYTES = 8 * 1024 * 1024
PIECES = 4

# How long a rank waits for another that copies the same shard, before it reads what it needs where the shard is.
LOCK_SECONDS = 300.0

# The pattern of the names of a cache's own files: a digest, and the name of the shard. Older versions' digests were
# shorter.
COPIES = "[0-9a-f]" * 16 + "*-*"
_DIGITS = 32

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class Shard:
    """A whole shard, as dataset.json describes it.

    Attributes:
        path: A URL, or a local path.
        size_bytes: Its size.
        sha256: Its hash in hexadecimal digits; one without is not copied.
    """

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Cache:
    """Whole shards on the node's own disk, for all its ranks; a copy is known by its hash.

    Attributes:
        folder: Made where it is missing, for its owner alone; may hold other files.
        max_bytes: The least recently used copies are dropped above this; a rank that is copying may be a shard ahead.
        given_up: Shards that cannot be copied, and the folder itself once it cannot be used.
    """

    folder: str
    max_bytes: int
    given_up: set[str] = field(default_factory=set)


def read_ranges_cached(ranges: Sequence[Range], shards: Sequence[Shard], cache: Cache) -> list[bytes | Exception]:
    """Reads ranges like `read_ranges`, from copies of whole shards, which are made where they are missing.

    Ranges of shards that cannot be copied are read where the shards are.

    Args:
        ranges: What to read.
        shards: Those that the ranges are in.
        cache: Where the copies are.
    """
    by_shard: dict[str, list[Range]] = {}
    for wanted in ranges:
        by_shard.setdefault(wanted.path, []).append(wanted)

    data: dict[Range, bytes | Exception] = {}
    for shard in shards:
        copy = _local_copy(shard, cache)
        if copy is not None:
            data |= {wanted: read_local(replace(wanted, path=copy)) for wanted in by_shard[shard.path]}

    # A copy may also be missing again: another rank needed the room just now.
    elsewhere = [wanted for wanted in ranges if not isinstance(data.get(wanted), bytes)]
    data |= zip(elsewhere, read_ranges(elsewhere), strict=True)
    return [data[wanted] for wanted in ranges]


def _local_copy(shard: Shard, cache: Cache) -> str | None:
    """Returns the path of a shard's copy, made where it is missing or no whole one; None where it cannot be made."""
    if not shard.sha256:
        return None
    copy = Path(cache.folder, f"{shard.sha256[:_DIGITS]}-{os.path.basename(shard.path)}")
    try:
        _check_folder(cache.folder)
        if _is_whole(copy, shard.size_bytes):
            with suppress(OSError):
                os.utime(copy)  # used just now; `touch` would make an empty one where another rank has dropped it
            return str(copy)

        is_given_up = shard.path in cache.given_up or cache.folder in cache.given_up
        if is_given_up or shard.size_bytes > cache.max_bytes:
            return None
        if _copy_once(shard, copy, cache):
            return str(copy)
        cache.given_up.add(shard.path)
    except BlockingIOError:
        cache.given_up.add(shard.path)
        _warn(f"another process holds {copy}.lock: {shard.path} is read where it is")
    except OSError as error:  # of the disk: for the shard's own storage, read_ranges raises others
        if cache.folder not in cache.given_up:
            why = f"{cache.folder} cannot be used ({error_line(error)})"
            _warn(f"{why}: shards that are not in it are read where they are")
        cache.given_up.add(cache.folder)
    return None


def _warn(line: str) -> None:
    print(f"--cache_dir {line}", file=sys.stderr, flush=True)


def _check_folder(folder: str) -> None:
    """Makes a cache's folder where it is missing; raises OSError where another user could have written to it."""
    os.makedirs(folder, mode=stat.S_IRWXU, exist_ok=True)
    link, found = os.lstat(folder), os.stat(folder)
    cure = "give a folder of your own that only you can write to"
    if {found.st_uid, link.st_uid} != {os.geteuid()}:
        raise PermissionError(errno.EACCES, f"it belongs to another user; {cure}")
    if found.st_mode & _WRITABLE_BY_OTHERS:
        raise PermissionError(errno.EACCES, f"other users may write to it; {cure}")


def _is_whole(copy: Path, size_bytes: int) -> bool:
    """Whether a copy is there, of the right size and made by this user; its hash was compared as it was written."""
    try:
        found = os.lstat(copy)
    except OSError:
        return False
    is_file = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
    is_own = found.st_uid == os.geteuid() and not found.st_mode & _WRITABLE_BY_OTHERS
    return is_file and is_own and found.st_size == size_bytes


def _copy_once(shard: Shard, copy: Path, cache: Cache) -> bool:
    """Copies a shard, or waits while another rank does; returns False where it cannot be read, or is another.

    Raises:
        BlockingIOError: The other rank takes longer than LOCK_SECONDS.
    """
    with open_lock(f"{copy}.lock") as lock:
        take_lock(lock, patience_seconds=LOCK_SECONDS)  # is released with the process that holds it
        return _is_whole(copy, shard.size_bytes) or _copy(shard, copy, cache)


def _copy(shard: Shard, copy: Path, cache: Cache) -> bool:
    """Copies a whole shard, which appears at once or not at all; returns False where it cannot be read, or is another.

    The copy is hashed as it is written: once, for all ranks and later runs.
    """
    _make_room(cache, shard.size_bytes)
    partial = Path(f"{copy}.partial")
    content = hashlib.sha256()
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, stat.S_IRUSR | stat.S_IWUSR)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for piece in _read_pieces(shard.path, shard.size_bytes):
                if piece is None:
                    return False
                content.update(piece)
                file.write(piece)
        if content.hexdigest() != shard.sha256:
            _warn(f"has no copy of {shard.path}, whose SHA-256 is not that of dataset.json: it is read where it is")
            return False
        partial.replace(copy)
        return True
    finally:
        partial.unlink(missing_ok=True)  # above all where the disk is full


def _read_pieces(shard: str, size: int) -> Iterator[bytes | None]:
    """Yields the bytes of a shard in order, a few pieces read at the same time; None for one that cannot be read."""
    pieces = [Range(shard, start, min(PIECE_BYTES, size - start)) for start in range(0, size, PIECE_BYTES)]
    for first in range(0, len(pieces), PIECES):
        few = pieces[first : first + PIECES]
        for wanted, piece in zip(few, read_ranges(few), strict=True):
            if isinstance(piece, Exception) or len(piece) < wanted.size:
                yield None
            else:
                yield piece


@dataclass(frozen=True, order=True)
class _CacheFile:
    """A file of a cache; they are ordered by when they were used last."""

    used_ns: int
    size: int
    path: Path


def _make_room(cache: Cache, size: int) -> None:
    """Drops what killed copies have left, and the least recently used copies until `size` bytes more fit."""
    files = _cache_files(cache)
    total = size + sum(file.size for file in files)
    for file in sorted(files):
        is_copy = file.path.suffix not in (".partial", ".lock")
        if total > cache.max_bytes and is_copy:
            file.path.unlink(missing_ok=True)
            total -= file.size


def _cache_files(cache: Cache) -> list[_CacheFile]:
    """Lists a cache's own files, and removes half-made copies that nobody is writing."""
    files = []
    for path in Path(cache.folder).glob(COPIES):
        with suppress(FileNotFoundError):  # another rank was quicker
            if path.suffix == ".partial" and _drop_if_stale(path):
                continue
            found = path.lstat()
            files.append(_CacheFile(found.st_mtime_ns, found.st_size, path))
    return files


def _drop_if_stale(partial: Path) -> bool:
    """Removes a half-made copy that no process is writing; returns whether it did."""
    with open_lock(partial.with_suffix(".lock")) as lock:
        try:
            take_lock(lock)
        except BlockingIOError:
            return False
        partial.unlink()
        return True
