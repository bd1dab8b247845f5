"""The index of a data set folder: where every utterance's audio lies and how long it is. Owns pyarrow.

Shape legend: N utterances, S shards.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from asrscale.audio import SAMPLE_RATE_HZ
from asrscale.errors import CliError
from asrscale.storage import is_remote, open_binary, read_bytes
from asrscale.text import NORMALISATION_STEPS

SCHEMA_VERSION = 1  # of index.parquet and dataset.json together
INDEX_FILE = "index.parquet"
DATASET_FILE = "dataset.json"  # written last: a folder that has it is whole
_REBUILD = "build the folder again with asrscale.shard"

_TEXT = pa.large_string()  # large: 2 GiB of text are few hours at internet scale
_SCHEMA = pa.schema(
    [
        pa.field("key", _TEXT, nullable=False),  # of WebDataset
        pa.field("shard", _TEXT, nullable=False),  # file name of the tar
        pa.field("offset", pa.int64(), nullable=False),  # where the audio payload, such as KEY.flac, starts in the tar
        pa.field("size", pa.int64(), nullable=False),  # the payload's bytes
        pa.field("crc32", pa.uint32(), nullable=False),  # the payload's CRC-32, as zlib computes it
        pa.field("num_samples", pa.int64(), nullable=False),  # at 16 kHz
        pa.field("text", _TEXT, nullable=False),  # normalised transcript
        pa.field("speaker", _TEXT),  # null where the source does not say
    ],
    metadata={"asrscale_schema_version": str(SCHEMA_VERSION)},
)
# A run reads the whole footer: without the statistics and dictionaries that nobody uses, a shard takes 0.45 kB of it.
WRITING: dict[str, Any] = {"write_statistics": False, "use_dictionary": ["shard", "speaker"], "compression": "zstd"}


@dataclass(frozen=True, eq=False)
class Index:
    """Utterances of one or more data set folders; every array has N rows, of which `_SCHEMA` tells more."""

    shards: tuple[str, ...]  # absolute paths or URLs
    shard_bytes: npt.NDArray[np.int64]  # the size of each of `shards`
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

    @property
    def text_bytes(self) -> npt.NDArray[np.int64]:
        """(N,) length of each transcript in UTF-8."""
        lengths: npt.NDArray[np.int64] = pc.binary_length(self.texts).to_numpy(zero_copy_only=False)
        return lengths

    def take(self, ids: npt.NDArray[np.integer[Any]]) -> "Index":
        """The utterances `ids`, in that order; the shards keep their numbers."""
        shards, shard_bytes, *columns = vars(self).values()
        return Index(shards, shard_bytes, *(column.take(ids) for column in columns))

    def name(self, i: int) -> str:
        """What to call utterance `i` to a person: shard path and key."""
        return f"{self.shards[self.shard_ids[i]]}:{self.keys[i]}"


def write_index(path: str | os.PathLike[str], shards: Iterable[list[dict[str, Any]]]) -> None:
    """Writes index.parquet: each shard is a row group, each of its utterances a row with the columns of `_SCHEMA`."""
    with pq.ParquetWriter(path, _SCHEMA, **WRITING) as writer:
        for utterances in filter(None, shards):
            writer.write_table(pa.Table.from_pylist(utterances, _SCHEMA))


@dataclass(frozen=True, eq=False)
class Catalog:
    """What data set folders say of themselves, shard by shard: enough to plan a run without reading an index."""

    shards: tuple[str, ...]  # (S,) absolute paths or URLs; the shard numbers of an Index are positions in it
    shard_bytes: npt.NDArray[np.int64]  # (S,) the size of each
    utterances: npt.NDArray[np.int64]  # (S,) how many each holds
    samples: npt.NDArray[np.int64]  # (S,) their length together, at 16 kHz
    longest_samples: npt.NDArray[np.int64]  # (S,) the length of the longest
    # (S,) where its rows stand in the index.parquet beside it; -1 for a shard without any
    row_groups: npt.NDArray[np.int64]
    characters: Counter[str]  # counts of the characters of all transcripts
    footers: dict[str, pq.FileMetaData] = field(default_factory=dict)  # of each index.parquet read so far, parsed once

    @property
    def hours(self) -> float:
        """Hours of audio."""
        return float(self.samples.sum()) / SAMPLE_RATE_HZ / 3600


def read_catalog(folders: Sequence[str]) -> Catalog:
    """Reads what data set folders say of themselves, joined in the order given; opens no shard and no index.

    Raises:
        CliError: A folder, index or shard is missing, dataset.json is damaged or of an unknown schema version, or
            nothing is in it.
    """
    paths: list[str] = []
    sums: list[tuple[int, ...]] = []
    characters: Counter[str] = Counter()
    for folder in (folder.rstrip("/") if is_remote(folder) else os.path.abspath(folder) for folder in folders):
        names, own_sums, own_characters = _read_dataset(folder)
        characters.update(own_characters)
        paths += [os.path.join(folder, name) for name in names]
        groups = accumulate((one[1] > 0 for one in own_sums), initial=0)
        sums += [(*one, group if one[1] else -1) for one, group in zip(own_sums, groups, strict=False)]
    shard_bytes, utterances, samples, longest_samples, row_groups = np.array(sums, np.int64).T
    return Catalog(tuple(paths), shard_bytes, utterances, samples, longest_samples, row_groups, characters)


def read_shards(catalog: Catalog, numbers: Iterable[int]) -> Index:
    """The rows of some shards, in the order given.

    Raises:
        CliError: An index.parquet does not hold what its dataset.json says, or a shard is missing or of another size.
    """
    tables, shard_ids = [_SCHEMA.empty_table()], [np.zeros(0, np.int32)]
    wanted = [int(number) for number in numbers if catalog.utterances[number]]
    for folder, group in groupby(wanted, key=lambda number: os.path.dirname(catalog.shards[number])):
        path = os.path.join(folder, INDEX_FILE)
        shards = list(group)
        counts = catalog.utterances[shards]
        try:
            # A local one by its name: Arrow's threads free what they read through a Python file after the interpreter
            # is gone, where the process ends just then, and abort it.
            source = open_binary(path) if is_remote(path) else path
            with pq.ParquetFile(source, metadata=catalog.footers.get(path)) as file:
                catalog.footers[path] = file.metadata
                table = file.read_row_groups(catalog.row_groups[shards].tolist(), use_threads=False)
            names = table["shard"].combine_chunks()
        except (OSError, KeyError, IndexError, pa.ArrowException) as error:
            why = " ".join(str(error).split())
            raise CliError(f"{path} is damaged ({why}): {_REBUILD}") from error
        promised = pa.array([os.path.basename(catalog.shards[number]) for number in shards], _TEXT)
        promised = promised.take(np.repeat(np.arange(len(shards)), counts))
        if not table.schema.equals(_SCHEMA, check_metadata=True) or not names.equals(promised):
            raise CliError(f"{path} does not hold what {DATASET_FILE} beside it says: {_REBUILD}")
        for number in shards if not is_remote(folder) else ():
            shard, promised_bytes = catalog.shards[number], int(catalog.shard_bytes[number])
            size = os.path.getsize(shard) if os.path.isfile(shard) else None
            if size != promised_bytes:
                state = "is missing" if size is None else f"has {size:,} bytes, not {promised_bytes:,}"
                raise CliError(f"{shard}: the shard {state}: copy it again or {_REBUILD}")
        tables.append(table)
        shard_ids.append(np.repeat(shards, counts).astype(np.int32))
    table = pa.concat_tables(tables)
    columns = [table[name].to_numpy() for name in ("offset", "size", "crc32", "num_samples")]
    strings = [table[name].combine_chunks() for name in ("key", "text", "speaker")]
    return Index(catalog.shards, catalog.shard_bytes, np.concatenate(shard_ids), *columns, *strings)


def read_index(folders: Sequence[str]) -> Index:
    """All rows of data set folders; see `read_catalog` and `read_shards` for what is checked."""
    catalog = read_catalog(folders)
    return read_shards(catalog, range(len(catalog.shards)))


def _read_dataset(folder: str) -> tuple[list[str], list[tuple[int, ...]], Counter[str]]:
    """What a folder's dataset.json says of its shards: names; bytes, utterances, samples and longest; characters."""
    try:
        dataset: dict[str, Any] = json.loads(_read_file(folder, DATASET_FILE))
        if (version := dataset["schema_version"]) != SCHEMA_VERSION:
            raise CliError(f"{folder}: schema version {version}, this asrscale reads {SCHEMA_VERSION}: {_REBUILD}")
        if tuple(dataset.get("normalisation", NORMALISATION_STEPS)) != NORMALISATION_STEPS:
            raise CliError(f"{folder}: its transcripts were normalised otherwise than asrscale does now: {_REBUILD}")
        names = [str(shard["file"]) for shard in dataset["shards"]]
        counted = ("bytes", "utterances", "samples", "longest_samples")
        sums = [tuple(int(shard[name]) for name in counted) for shard in dataset["shards"]]
        characters = Counter[str](dataset["characters"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = " ".join(str(error).split())
        raise CliError(f"{folder}: {DATASET_FILE} is damaged ({why}): {_REBUILD}") from error
    if not any(utterances for _, utterances, *_ in sums):
        raise CliError(f"{folder}: the index holds no utterance: see its rejected.jsonl and build it again")
    present = {INDEX_FILE, *names} if is_remote(folder) else set(os.listdir(folder))
    if missing := [name for name in (INDEX_FILE, *names) if name not in present]:
        others = f", and {len(missing) - 1:,} more files" if missing[1:] else ""
        raise CliError(f"{folder}/{missing[0]} is missing{others}: copy it again or {_REBUILD}")
    return names, sums, characters


def _read_file(folder: str, name: str) -> bytes:
    """A small file of a data set folder; CliError where it is not there."""
    path = Path(folder)
    if not is_remote(folder) and not (path / name).is_file():
        inside = sorted(f"{path.name}/{found.parent.name}" for found in path.glob(f"*/{name}"))
        cure = f"give one of {', '.join(inside)}" if inside else "correct the path, or build it with asrscale.shard"
        state = f"no {name} here, so no finished data set" if path.is_dir() else "no such folder"
        raise CliError(f"{folder}: {state}: {cure}")
    try:
        return read_bytes(f"{folder}/{name}") if is_remote(folder) else (path / name).read_bytes()
    except FileNotFoundError as error:
        raise CliError(f"{folder}: no {name} here: correct the address, or copy the whole folder there") from error
