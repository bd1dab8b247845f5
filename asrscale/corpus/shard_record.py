"""What is recorded of a finished shard: TAR.part, a JSON file beside the tar until the data set folder is whole.

It lets an interrupted build go on where it was, and the parts of an array job be merged.
"""

import json
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asrscale.common.atomic_files import write_text
from asrscale.common.json_values import parse_object
from asrscale.corpus.rejects import Reject


@dataclass(frozen=True)
class Utterance:
    """A row of index.parquet; `data.index` describes the columns."""

    key: str
    shard: str
    text: str
    speaker: str | None
    offset: int
    size: int
    crc32: int
    num_samples: int


@dataclass(frozen=True)
class ShardEntry:
    """A shard's entry in dataset.json.

    Attributes:
        file: File name of the tar.
        bytes: Size of the tar.
        sha256: Of the whole tar, in hexadecimal.
        utterances: How many utterances it holds.
        samples: Their length together, at 16 kHz.
        longest_samples: Length of the longest utterance; 0 where the shard has none.
    """

    file: str
    bytes: int
    sha256: str
    utterances: int
    samples: int
    longest_samples: int


@dataclass(frozen=True)
class ShardRecord:
    """A finished shard. Names and order of the fields are those of the JSON: older builds are continued.

    Attributes:
        utterances: Its rows of index.parquet, in the order of the tar.
        rejects: Its rows that could not be used.
        made_of: Hash of all that the shard depends on.
        shard: Its entry in dataset.json.
        refused: Rows that the split's rules leave out; they are in no shard, and each shard records a share of them.
        markup: How often each annotation, tag and HTML entity was in the transcripts of its utterances.
        symbols: How often each symbol, such as %, was in them and no longer is.
    """

    utterances: tuple[Utterance, ...]
    rejects: tuple[Reject, ...]
    made_of: str
    shard: ShardEntry
    refused: tuple[Reject, ...]
    markup: dict[str, int] = field(default_factory=dict)
    symbols: dict[str, int] = field(default_factory=dict)

    @property
    def left_out(self) -> tuple[Reject, ...]:
        """All lines of rejected.jsonl that this shard accounts for."""
        return self.rejects + self.refused


def record_path(tar_path: str | os.PathLike[str]) -> Path:
    """Where the record of a shard lies."""
    return Path(f"{os.fspath(tar_path)}.part")


def read_record(tar_path: str | os.PathLike[str]) -> ShardRecord | None:
    """Returns the record of the shard at `tar_path`.

    Returns:
        None where there is no record, where it is damaged, or where the tar does not have the recorded size.
    """
    with suppress(OSError, ValueError, LookupError, TypeError):
        record = _from_json(parse_object(record_path(tar_path).read_bytes()))
        if record.shard.bytes == os.path.getsize(tar_path):
            return record
    return None


def write_record(tar_path: str | os.PathLike[str], record: ShardRecord) -> None:
    """Writes the record of the shard at `tar_path`, whole or not at all."""
    values = vars(record).copy()
    for name in ("markup", "symbols"):
        if not values[name]:
            del values[name]  # as older versions wrote it
    write_text(record_path(tar_path), json.dumps(values, default=vars))


def _from_json(values: dict[str, Any]) -> ShardRecord:
    """Returns the record that a JSON object describes; raises TypeError or LookupError where it describes none."""
    return ShardRecord(
        utterances=tuple(Utterance(**utterance) for utterance in values["utterances"]),
        rejects=tuple(Reject(**reject) for reject in values["rejects"]),
        made_of=values["made_of"],
        shard=ShardEntry(**values["shard"]),
        refused=tuple(Reject(**reject) for reject in values["refused"]),
        markup=values.get("markup", {}),
        symbols=values.get("symbols", {}),
    )
