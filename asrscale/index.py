"""The index of a data set folder: where every utterance's audio lies and how long it is. Owns pyarrow.

Shape legend: N utterances.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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

_TEXT = pa.large_string()  # large: 2 GiB of text are few hours at internet scale
_SCHEMA = pa.schema(
    [
        pa.field("key", _TEXT, nullable=False),  # of WebDataset
        pa.field("shard", _TEXT, nullable=False),  # file name of the tar
        pa.field("offset", pa.int64(), nullable=False),  # where the audio payload, KEY.flac, starts in the tar
        pa.field("size", pa.int64(), nullable=False),  # the payload's bytes
        pa.field("crc32", pa.uint32(), nullable=False),  # the payload's CRC-32, as zlib computes it
        pa.field("num_samples", pa.int64(), nullable=False),  # at 16 kHz
        pa.field("text", _TEXT, nullable=False),  # normalised transcript
        pa.field("speaker", _TEXT),  # null where the source does not say
    ],
    metadata={"asrscale_schema_version": str(SCHEMA_VERSION)},
)


@dataclass(frozen=True, eq=False)
class Index:
    """Utterances of one or more data set folders; every array has N rows, of which `_SCHEMA` tells more."""

    shards: tuple[str, ...]  # absolute paths
    shard_ids: npt.NDArray[np.int32]  # which of `shards` an utterance is in
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
    def hours(self) -> float:
        """Hours of audio."""
        return float(self.num_samples.sum()) / SAMPLE_RATE_HZ / 3600

    def take(self, ids: npt.NDArray[np.integer[Any]]) -> "Index":
        """The utterances `ids`, in that order; the shards keep their numbers."""
        shards, *columns = vars(self).values()
        return Index(shards, *(column.take(ids) for column in columns))

    def name(self, i: int) -> str:
        """What to call utterance `i` to a person: shard path and key."""
        return f"{self.shards[self.shard_ids[i]]}:{self.keys[i]}"


def write_index(path: str | os.PathLike[str], shards: Iterable[list[dict[str, Any]]]) -> None:
    """Writes index.parquet: each shard is a row group, each of its utterances a row with the columns of `_SCHEMA`."""
    with pq.ParquetWriter(path, _SCHEMA) as writer:
        for utterances in filter(None, shards):
            writer.write_table(pa.Table.from_pylist(utterances, _SCHEMA))


def read_index(folders: Sequence[str]) -> Index:
    """Reads and checks data set folders and joins them in the order given; opens no shard.

    Raises:
        CliError: A folder, index or shard is missing, damaged or of an unknown schema version, or nothing is in it.
    """
    shards: list[str] = []
    shard_ids: list[npt.NDArray[np.int32]] = []
    tables: list[pa.Table] = []
    for folder in map(os.path.abspath, folders):
        names, ids, table = _read_folder(Path(folder))
        shard_ids.append(ids + np.int32(len(shards)))
        shards.extend(os.path.join(folder, name) for name in names)
        tables.append(table)
    table = pa.concat_tables(tables)
    numbers = [table[name].to_numpy() for name in ("offset", "size", "crc32", "num_samples")]
    strings = [table[name].combine_chunks() for name in ("key", "text", "speaker")]
    return Index(tuple(shards), np.concatenate(shard_ids), *numbers, *strings)


def _read_folder(folder: Path) -> tuple[list[str], npt.NDArray[np.int32], pa.Table]:
    """Shard file names, the shard of each utterance, and the index; checked against dataset.json and the file sizes."""
    if not (folder / DATASET_FILE).is_file():
        inside = sorted(f"{folder.name}/{path.parent.name}" for path in folder.glob(f"*/{DATASET_FILE}"))
        cure = f"give one of {', '.join(inside)}" if inside else "correct the path, or build it with asrscale.shard"
        found = f"no {DATASET_FILE} here, so no finished data set" if folder.is_dir() else "no such folder"
        raise CliError(f"{folder}: {found}: {cure}")
    rebuild = "build the folder again with asrscale.shard"
    try:
        dataset = json.loads((folder / DATASET_FILE).read_bytes())
        if (version := dataset["schema_version"]) != SCHEMA_VERSION:
            raise CliError(f"{folder}: schema version {version}, this asrscale reads {SCHEMA_VERSION}: {rebuild}")
        table = pq.ParquetFile(folder / INDEX_FILE).read()
        bytes_of = {shard["file"]: shard["bytes"] for shard in dataset["shards"]}
        utterances = sum(shard["utterances"] for shard in dataset["shards"])
        ids = pc.index_in(table["shard"], value_set=pa.array(list(bytes_of), _TEXT))
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        why = " ".join(str(error).split())
        raise CliError(f"{folder}: {INDEX_FILE} or {DATASET_FILE} is damaged ({why}): {rebuild}") from error
    if not table.schema.equals(_SCHEMA, check_metadata=True) or len(table) != utterances or ids.null_count:
        raise CliError(f"{folder}: {INDEX_FILE} does not hold what {DATASET_FILE} says: {rebuild}")
    if not utterances:
        raise CliError(f"{folder}: the index holds no utterance: see its rejected.jsonl and build it again")
    for name, promised in bytes_of.items():
        size = (folder / name).stat().st_size if (folder / name).is_file() else None
        if size != promised:
            state = "is missing" if size is None else f"has {size:,} bytes, not {promised:,}"
            raise CliError(f"{folder / name}: the shard {state}: copy it again or {rebuild}")
    return list(bytes_of), ids.to_numpy(), table
