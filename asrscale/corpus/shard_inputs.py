"""What the recordings of each shard were when it was built, so that those that were repaired since are found.

While a folder is built, TAR.inputs beside each shard; then a line for each shard in OUT/.recordings-SPLIT.jsonl. A
recording counts by its size and time of change, as for an interrupted build: to read all would take too long.
"""

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from asrscale import __version__
from asrscale.common.atomic_files import read_jsonl, write_jsonl, write_text

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
    """

    shard: str
    version: str
    rows: str
    recordings: str


def inputs_of(tar_path: str, lines: Sequence[int], recordings: Iterable[tuple[int, int] | None]) -> ShardInputs:
    """Returns what a shard is made of now.

    Args:
        tar_path: The shard.
        lines: Those of its rows.
        recordings: For each row the size and time of change of its recording; None where it is missing.
    """
    checksums = (_MISSING if status is None else _checksum(repr(status)) for status in recordings)
    return ShardInputs(
        shard=Path(tar_path).name, version=__version__, rows=_checksum(repr(lines)), recordings="".join(checksums)
    )


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
    known = [tar_path for tar_path in tar_paths if inputs_path(tar_path).exists()]
    if known:
        write_jsonl(path, (json.loads(inputs_path(tar_path).read_bytes()) for tar_path in known))


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
