"""What the recordings of each shard were when it was built, so that those that were repaired since are found.

While a folder is built, TAR.inputs beside each shard; then a line for each shard in OUT/.recordings-SPLIT.jsonl. A
recording counts by its size and time of change, as for an interrupted build: to read all would take too long.
"""

import json
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from asrscale import __version__
from asrscale.common.atomic_files import read_jsonl, write_jsonl, write_text
from asrscale.common.json_values import parse_object
from asrscale.sources.rows import Row

_DIGITS = 8  # hexadecimal, of a CRC-32

_MISSING = "0" * _DIGITS


@dataclass(frozen=True)
class ShardInputs:
    """What a shard was made of; the fields are the members of the JSON.

    Attributes:
        shard: File name of the tar.
        version: Of asrscale: a shard that another one built may have other bytes.
        rows: CRC-32 of the lines of its rows.
        recordings: For each row the CRC-32 of size and time of its recording, or zeros where it is missing, joined.
        content: What its rows say, those that are refused included, as `sum_of_content` has it; empty where an older
            version built it.
    """

    shard: str
    version: str
    rows: str
    recordings: str
    content: str = ""


def inputs_of(
    tar_path: str, rows: Sequence[Row], refused: Sequence[Row], recordings: Iterable[tuple[int, int] | None]
) -> ShardInputs:
    """Returns what a shard is made of now.

    Args:
        tar_path: The shard.
        rows: Its rows.
        refused: Those that are listed with its rejects.
        recordings: For each row the size and time of change of its recording; None where it is missing.
    """
    checksums = (_MISSING if status is None else _checksum(repr(status)) for status in recordings)
    return ShardInputs(
        shard=Path(tar_path).name,
        version=__version__,
        rows=_checksum(repr([row.line for row in rows])),
        recordings="".join(checksums),
        content=sum_of_content([*rows, *refused]),
    )


def sum_of_content(rows: Iterable[Row]) -> str:
    """Returns a sum of hashes of what rows say: the same in any order, and wherever recordings lie in their tars."""
    return _to_hex(sum(_hash64(repr(_content_of(row))) for row in rows))


def is_content(rows: Iterable[Row], inputs: Iterable[ShardInputs]) -> bool:
    """Whether rows say together what those of a split's shards said, where that is known."""
    sums = [shard.content for shard in inputs]
    return all(sums) and sum_of_content(rows) == _to_hex(sum(int(content, 16) for content in sums))


def _content_of(row: Row) -> tuple[object, ...]:
    """Returns what a row says, but not where; its recording without the extension, as it may be repaired by another."""
    audio, _ = os.path.splitext(row.audio)
    return audio, row.text, row.extra, row.start_seconds, row.seconds


def _hash64(text: str) -> int:
    """Returns 64 bits of a hash."""
    return int.from_bytes(blake2b(text.encode("utf-8", "backslashreplace"), digest_size=8).digest())


def _to_hex(total: int) -> str:
    """Returns the last 64 bits of a sum in hexadecimal."""
    return f"{total % 2**64:016x}"


def has_repaired_recording(before: ShardInputs, now: ShardInputs) -> bool:
    """Whether a recording of a shard is there now that was missing, or another one, when the shard was built.

    One that is gone by now repairs nothing: what was built of it stays.
    """
    if before.rows != now.rows:
        return True
    pairs = zip(_split(before.recordings), _split(now.recordings), strict=False)
    return any(recording not in (_MISSING, recorded) for recorded, recording in pairs)


def inputs_path(tar_path: str | Path) -> Path:
    """Where the inputs of a shard are until its folder is whole."""
    return Path(f"{tar_path}.inputs")


def write_inputs(tar_path: str | Path, inputs: ShardInputs) -> None:
    """Writes what the shard at `tar_path` is made of."""
    write_text(inputs_path(tar_path), json.dumps(vars(inputs)))


def join_inputs(out: str, split: str, tar_paths: Iterable[Path]) -> None:
    """Joins the inputs of a split's shards in one file of its --out; where none is known, there will be no file."""
    path = _joined_path(out, split)
    path.unlink(missing_ok=True)
    known = [inputs for inputs in map(_read_inputs, tar_paths) if inputs]
    if known:
        write_jsonl(path, known)


def _read_inputs(tar_path: Path) -> dict[str, Any]:
    """Returns what `write_inputs` wrote of a shard; empty where that is not there, or damaged."""
    with suppress(OSError, ValueError):
        return parse_object(inputs_path(tar_path).read_bytes())
    return {}


def read_joined_inputs(out: str, split: str) -> dict[str, ShardInputs]:
    """Returns the inputs of a whole folder's shards by their file names; empty where they are not known."""
    with suppress(OSError, TypeError, KeyError):
        return {line["shard"]: ShardInputs(**line) for line in read_jsonl(_joined_path(out, split))}
    return {}


def _joined_path(out: str, split: str) -> Path:
    return Path(out, f".recordings-{split}.jsonl")


def _checksum(text: str) -> str:
    """Returns a CRC-32 in hexadecimal that is not zero."""
    return f"{zlib.crc32(text.encode()) or 1:0{_DIGITS}x}"


def _split(recordings: str) -> Iterator[str]:
    """Yields the checksums of the recordings one by one."""
    return (recordings[start : start + _DIGITS] for start in range(0, len(recordings), _DIGITS))
