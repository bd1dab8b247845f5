"""Copies of whole remote shards on a node's own disk, shared by all its ranks.

Ranks agree by files alone: a copy appears at once under its name, after it was written under another; a lock file
beside it says who writes.
"""

import fcntl
import hashlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from asrscale.common.storage import Range, error_line, read_local, read_ranges

# A shard is copied in pieces, of which a few travel at once.
PIECE_BYTES = 8 * 1024 * 1024
PIECES = 4

# The pattern of the names of a cache's own files: a digest, and the name of the shard.
COPIES = "[0-9a-f]" * 16 + "-*"


@dataclass(frozen=True)
class Cache:
    """Whole shards on the node's own disk, for all its ranks; a copy is known by its shard's address and size.

    Attributes:
        folder: Made where it is missing; may hold other files.
        max_bytes: The least recently used copies are dropped above this; a rank that is copying may be a shard ahead.
        given_up: Shards that cannot be copied, and the folder itself once it cannot be written to.
    """

    folder: str
    max_bytes: int
    given_up: set[str] = field(default_factory=set)


def read_ranges_cached(ranges: Sequence[Range], sizes: Mapping[str, int], cache: Cache) -> list[bytes | Exception]:
    """Reads ranges like `read_ranges`, from copies of whole shards, which are made where they are missing.

    Ranges of shards that cannot be copied are read where the shards are.

    Args:
        ranges: What to read.
        sizes: Path of each shard to its size in bytes.
        cache: Where the copies are.
    """
    by_shard: dict[str, list[Range]] = {}
    for wanted in ranges:
        by_shard.setdefault(wanted.path, []).append(wanted)

    data: dict[Range, bytes | Exception] = {}
    for shard, own in by_shard.items():
        copy = _local_copy(shard, sizes[shard], cache)
        if copy is not None:
            data |= {wanted: read_local(replace(wanted, path=copy)) for wanted in own}

    # A copy may also be missing again: another rank needed the room just now.
    elsewhere = [wanted for wanted in ranges if not isinstance(data.get(wanted), bytes)]
    data |= zip(elsewhere, read_ranges(elsewhere), strict=True)
    return [data[wanted] for wanted in ranges]


def _local_copy(shard: str, size: int, cache: Cache) -> str | None:
    """Returns the path of a shard's copy, made where it is missing or of another size; None where it cannot be made."""
    copy = _copy_path(shard, cache)
    if _is_whole(copy, size):
        with suppress(OSError):
            os.utime(copy)  # used just now; `touch` would make an empty one where another rank has dropped it
        return str(copy)

    is_given_up = shard in cache.given_up or cache.folder in cache.given_up
    if is_given_up or size > cache.max_bytes:
        return None

    try:
        if _copy_once(shard, size, copy, cache):
            return str(copy)
        cache.given_up.add(shard)
    except OSError as error:  # of the disk: for the shard's own storage, read_ranges raises others
        cache.given_up.add(cache.folder)
        why = f"{cache.folder} cannot be written to ({error_line(error)})"
        print(f"--cache_dir {why}: shards that are not in it are read where they are", file=sys.stderr, flush=True)
    return None


def _copy_path(shard: str, cache: Cache) -> Path:
    # The digest, because train/000.tar and valid/000.tar are not the same.
    digest = hashlib.sha256(shard.encode()).hexdigest()[:16]
    return Path(cache.folder, f"{digest}-{os.path.basename(shard)}")


def _is_whole(copy: Path, size: int) -> bool:
    with suppress(OSError):
        return copy.stat().st_size == size
    return False


def _copy_once(shard: str, size: int, copy: Path, cache: Cache) -> bool:
    """Copies a shard, or waits while another rank does; returns False where parts of the shard cannot be read."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{copy}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # is released with the process that holds it
        return _is_whole(copy, size) or _copy(shard, size, copy, cache)


def _copy(shard: str, size: int, copy: Path, cache: Cache) -> bool:
    """Copies a whole shard, which appears at once or not at all; returns False where parts of it cannot be read."""
    _make_room(cache, size)
    partial = Path(f"{copy}.partial")
    try:
        with partial.open("wb") as file:
            for piece in _read_pieces(shard, size):
                if piece is None:
                    return False
                file.write(piece)
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
            found = path.stat()
            files.append(_CacheFile(found.st_mtime_ns, found.st_size, path))
    return files


def _drop_if_stale(partial: Path) -> bool:
    """Removes a half-made copy that no process is writing; returns whether it did."""
    with open(partial.with_suffix(".lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        partial.unlink()
        return True
