"""Copies of whole remote shards on a node's own disk, shared by all its ranks."""

import fcntl
import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from asrscale.common.storage import Range, error_line, read_local, read_ranges

# A shard is copied in pieces, of which a few travel at once.
PIECE_BYTES, PIECES = 8 * 1024 * 1024, 4


COPIES = "[0-9a-f]" * 16 + "-*"  # what a cache's own files are called


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
    """Like `read_ranges`, from copies of the whole shards of these `sizes`; what cannot be copied is read there."""
    data: dict[Range, bytes | Exception] = {}
    for path in dict.fromkeys(wanted.path for wanted in ranges):
        copy = _local_copy(path, sizes[path], cache)
        data |= {r: read_local(replace(r, path=copy)) for r in ranges if copy and r.path == path}
    # A copy may also be gone again: another rank needed the room just now.
    elsewhere = [wanted for wanted in ranges if not isinstance(data.get(wanted), bytes)]
    data |= zip(elsewhere, read_ranges(elsewhere), strict=True)
    return [data[wanted] for wanted in ranges]


def _local_copy(path: str, size: int, cache: Cache) -> str | None:
    """Where a shard's copy lies, which is made where it is missing or of another size; None where that cannot be."""
    digest = hashlib.sha256(path.encode()).hexdigest()[:16]  # train/000.tar and valid/000.tar are not the same
    copy = Path(cache.folder, f"{digest}-{os.path.basename(path)}")
    if _is_whole(copy, size):
        with suppress(OSError):
            os.utime(copy)  # used just now; `touch` would make an empty one where another rank has dropped it
        return str(copy)
    if size > cache.max_bytes or not cache.given_up.isdisjoint({path, cache.folder}):
        return None
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        with open(f"{copy}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # one rank copies, the others wait for it; falls with the process
            if _is_whole(copy, size) or _copy(path, size, copy, cache):
                return str(copy)
        cache.given_up.add(path)
    except OSError as error:  # of the disk: what the shard's own storage may say is none
        cache.given_up.add(cache.folder)
        why = f"{cache.folder} cannot be written to ({error_line(error)})"
        print(f"--cache_dir {why}: shards that are not in it are read where they are", file=sys.stderr, flush=True)
    return None


def _is_whole(copy: Path, size: int) -> bool:
    with suppress(OSError):
        return copy.stat().st_size == size
    return False


def _copy(path: str, size: int, copy: Path, cache: Cache) -> bool:
    """Copies a whole shard, which appears at once or not at all; False where parts of the shard cannot be read."""
    _make_room(cache, size)
    partial = Path(f"{copy}.partial")
    pieces = [Range(path, start, min(PIECE_BYTES, size - start)) for start in range(0, size, PIECE_BYTES)]
    try:
        with partial.open("wb") as file:
            for few in (pieces[first : first + PIECES] for first in range(0, len(pieces), PIECES)):
                for wanted, piece in zip(few, read_ranges(few), strict=True):
                    if isinstance(piece, Exception) or len(piece) < wanted.size:
                        return False
                    file.write(piece)
        partial.replace(copy)
        return True
    finally:
        partial.unlink(missing_ok=True)  # above all where the disk is full


def _make_room(cache: Cache, size: int) -> None:
    """Drops what killed copies have left, and the least recently used copies until `size` bytes more fit."""
    files: list[tuple[int, int, Path]] = []
    for path in Path(cache.folder).glob(COPIES):
        with suppress(FileNotFoundError):  # another rank was quicker
            if not (path.suffix == ".partial" and _drop_if_stale(path)):
                files.append((path.stat().st_mtime_ns, path.stat().st_size, path))
    total = size + sum(file_bytes for _, file_bytes, _ in files)
    for _, file_bytes, path in sorted(files):
        if total > cache.max_bytes and path.suffix not in (".partial", ".lock"):
            path.unlink(missing_ok=True)
            total -= file_bytes


def _drop_if_stale(partial: Path) -> bool:
    """Removes a half-made copy that no process is at work on."""
    with open(partial.with_suffix(".lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        partial.unlink()
        return True
