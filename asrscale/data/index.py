"""The index of a data set folder: where every utterance's audio lies and how long it is. Owns pyarrow.

Shape legend: N utterances, S shards.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from asrscale.common.errors import CliError
from asrscale.common.storage import is_remote, open_binary
from asrscale.data.catalog import DATASET_FILE, INDEX_FILE, REBUILD, SCHEMA_VERSION, Catalog, read_catalog
from asrscale.speech.pcm import SAMPLE_RATE_HZ

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
            raise CliError(f"{path} is damaged ({why}): {REBUILD}") from error
        promised = pa.array([os.path.basename(catalog.shards[number]) for number in shards], _TEXT)
        promised = promised.take(np.repeat(np.arange(len(shards)), counts))
        if not table.schema.equals(_SCHEMA, check_metadata=True) or not names.equals(promised):
            raise CliError(f"{path} does not hold what {DATASET_FILE} beside it says: {REBUILD}")
        for number in shards if not is_remote(folder) else ():
            shard, promised_bytes = catalog.shards[number], int(catalog.shard_bytes[number])
            size = os.path.getsize(shard) if os.path.isfile(shard) else None
            if size != promised_bytes:
                state = "is missing" if size is None else f"has {size:,} bytes, not {promised_bytes:,}"
                raise CliError(f"{shard}: the shard {state}: copy it again or {REBUILD}")
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
