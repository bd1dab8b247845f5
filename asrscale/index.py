"""The index of a data set folder: where every utterance's audio lies and how long it is. Owns pyarrow.

Shape legend: N utterances.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from asrscale.audio import SAMPLE_RATE_HZ
from asrscale.errors import CliError

SCHEMA_VERSION = 1  # of index.parquet and dataset.json together
INDEX_FILE = "index.parquet"
DATASET_FILE = "dataset.json"  # written last: a folder that has it is whole

_SCHEMA = pa.schema(
    [
        pa.field("key", pa.large_string(), nullable=False),  # large: 2 GiB of text are few hours at internet scale
        pa.field("shard", pa.large_string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("crc32", pa.uint32(), nullable=False),
        pa.field("num_samples", pa.int64(), nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("speaker", pa.large_string()),
    ],
    metadata={"asrscale_schema_version": str(SCHEMA_VERSION)},
)


@dataclass(frozen=True)
class Record:
    """One utterance in a shard.

    Attributes:
        key: Its WebDataset key.
        shard: File name of the tar.
        offset: Where the audio payload (the bytes of KEY.flac) starts in the tar.
        size: The payload's bytes.
        crc32: The payload's CRC-32, as zlib computes it.
        num_samples: Samples at 16 kHz.
        text: Normalised transcript.
        speaker: Who speaks, or None where the source does not say.
    """

    key: str
    shard: str
    offset: int
    size: int
    crc32: int
    num_samples: int
    text: str
    speaker: str | None


@dataclass(frozen=True, eq=False)
class Index:
    """Utterances of one or more data set folders; every array has N rows.

    Attributes:
        shards: Absolute paths of the tars.
        shard_ids: Which of `shards` an utterance is in.
        offsets: Where its audio payload starts in the tar.
        sizes: The payload's bytes.
        crc32: The payload's CRC-32.
        num_samples: Samples at 16 kHz.
        keys: WebDataset keys.
        texts: Normalised transcripts.
        speakers: Speakers, null where unknown.
    """

    shards: tuple[str, ...]
    shard_ids: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    crc32: npt.NDArray[np.uint32]
    num_samples: npt.NDArray[np.int64]
    keys: pa.LargeStringArray
    texts: pa.LargeStringArray
    speakers: pa.LargeStringArray

    def __len__(self) -> int:
        return len(self.shard_ids)

    @property
    def folders(self) -> tuple[str, ...]:
        """The data set folders that the shards are in."""
        return tuple(dict.fromkeys(map(os.path.dirname, self.shards)))

    @property
    def hours(self) -> float:
        """Hours of audio."""
        return float(self.num_samples.sum()) / SAMPLE_RATE_HZ / 3600

    def take(self, ids: npt.NDArray[np.integer[Any]]) -> "Index":
        """The utterances `ids`, in that order; the shards keep their numbers."""
        rows = pa.array(ids)
        return Index(
            self.shards,
            self.shard_ids[ids],
            self.offsets[ids],
            self.sizes[ids],
            self.crc32[ids],
            self.num_samples[ids],
            self.keys.take(rows),
            self.texts.take(rows),
            self.speakers.take(rows),
        )

    def name(self, i: int) -> str:
        """What to call utterance `i` to a person: shard path and key."""
        return f"{self.shards[self.shard_ids[i]]}:{self.keys[i]}"


def write_index(path: str | os.PathLike[str], tables: Iterable[list[Record]]) -> None:
    """Writes index.parquet, whole or not at all; each list is one shard and becomes one row group."""
    temporary = f"{os.fspath(path)}.tmp"
    with pq.ParquetWriter(temporary, _SCHEMA) as writer:
        for records in tables:
            if records:
                writer.write_table(pa.Table.from_pylist([asdict(record) for record in records], _SCHEMA))
    os.replace(temporary, path)


def read_index(folders: Sequence[str]) -> Index:
    """Reads and checks data set folders and joins them in the order given; opens no shard.

    Raises:
        CliError: A folder, index or shard is missing, damaged or of an unknown schema version, or nothing is in it.
    """
    if not folders:
        raise CliError("no data set folder was given")
    shards: list[str] = []
    shard_ids: list[npt.NDArray[np.int32]] = []
    tables: list[pa.Table] = []
    for folder in map(os.path.abspath, folders):
        names, table = _read_folder(Path(folder))
        position = pc.index_in(table["shard"], value_set=pa.array(names, pa.large_string()))
        if position.null_count:
            raise CliError(f"{folder}: {INDEX_FILE} and {DATASET_FILE} disagree: build the folder again")
        shard_ids.append(position.to_numpy() + np.int32(len(shards)))
        shards.extend(os.path.join(folder, name) for name in names)
        tables.append(table)
    table = pa.concat_tables(tables).combine_chunks()
    column = {name: table[name].combine_chunks() for name in table.column_names}
    return Index(
        shards=tuple(shards),
        shard_ids=np.concatenate(shard_ids),
        offsets=column["offset"].to_numpy(),
        sizes=column["size"].to_numpy(),
        crc32=column["crc32"].to_numpy(),
        num_samples=column["num_samples"].to_numpy(),
        keys=column["key"],
        texts=column["text"],
        speakers=column["speaker"],
    )


def _read_folder(folder: Path) -> tuple[list[str], pa.Table]:
    """Shard file names and index of one folder, checked against its dataset.json and the shards' sizes."""
    _check_is_data_set(folder)
    rebuild = "build the folder again with asrscale.shard"
    try:
        dataset = json.loads((folder / DATASET_FILE).read_bytes())
        file = pq.ParquetFile(folder / INDEX_FILE)
        versions = {dataset["schema_version"], int((file.schema_arrow.metadata or {})[b"asrscale_schema_version"])}
        if versions != {SCHEMA_VERSION}:
            found = " and ".join(map(str, sorted(versions)))
            raise CliError(f"{folder}: schema version {found}, this asrscale reads {SCHEMA_VERSION}: {rebuild}")
        table = file.read()
        bytes_of = {shard["file"]: shard["bytes"] for shard in dataset["shards"]}
        utterances = sum(shard["utterances"] for shard in dataset["shards"])
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        cause = " ".join(str(error).split())
        raise CliError(f"{folder}: {INDEX_FILE} or {DATASET_FILE} is damaged ({cause}): {rebuild}") from error
    if not table.schema.equals(_SCHEMA) or len(table) != utterances:
        raise CliError(f"{folder}: {INDEX_FILE} does not hold what {DATASET_FILE} says: {rebuild}")
    if not utterances:
        raise CliError(f"{folder}: the index holds no utterance: see its rejected.jsonl and build it again")
    for name, promised in bytes_of.items():
        size = (folder / name).stat().st_size if (folder / name).is_file() else None
        if size != promised:
            state = "is missing" if size is None else f"has {size:,} bytes, not {promised:,}"
            raise CliError(f"{folder / name}: the shard {state}: copy it again or {rebuild}")
    return list(bytes_of), table


def _check_is_data_set(folder: Path) -> None:
    """Raises CliError where `folder` is no finished data set folder, with the nearest cure."""
    if not folder.is_dir():
        raise CliError(f"{folder}: no such folder: build one with asrscale.shard or correct the path")
    if not (folder / INDEX_FILE).is_file():
        inside = sorted(path.parent.name for path in folder.glob(f"*/{INDEX_FILE}"))
        cure = f"give one of {', '.join(f'{folder.name}/{name}' for name in inside)}" if inside else "build it first"
        raise CliError(f"{folder}: no {INDEX_FILE} here: {cure}")
    if not (folder / DATASET_FILE).is_file():
        raise CliError(f"{folder}: no {DATASET_FILE}, so its build was interrupted: run asrscale.shard again")
