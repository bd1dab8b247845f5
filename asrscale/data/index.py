"""The index of a data set folder: where every utterance's audio lies and how long it is. Owns pyarrow.

Shape legend: N utterances, S shards.
"""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from asrscale.common.errors import CliError
from asrscale.common.storage import Range, is_remote, open_binary
from asrscale.data.catalog import (
    DATASET_FILE,
    INDEX_FILE,
    REBUILD,
    SCHEMA_VERSION,
    Catalog,
    names_of_data_sets,
    read_catalog,
)
from asrscale.data.parquet_bounds import check_expanded_size
from asrscale.data.parquet_pages import check_pages
from asrscale.speech.normalisation import TextRules
from asrscale.speech.pcm import SAMPLE_RATE_HZ

_TEXT = pa.large_string()  # large: 2 GiB of text are few hours at internet scale

# Of the texts of a shard, and of each of them on average: more is no transcript, and could fill the memory.
_TEXTS_BYTES = 64 * 1024**2
_TEXT_BYTES = 8 * 1024

INDEX_SCHEMA = pa.schema(
    [
        pa.field("key", _TEXT, nullable=False),  # of WebDataset
        pa.field("shard", _TEXT, nullable=False),  # file name of the tar
        pa.field("offset", pa.int64(), nullable=False),  # where the audio payload, such as KEY.flac, starts in the tar
        pa.field("size", pa.int64(), nullable=False),  # the payload's bytes
        pa.field("crc32", pa.uint32(), nullable=False),  # the payload's CRC-32, as zlib computes it
        pa.field("num_samples", pa.int64(), nullable=False),  # at 16 kHz
        pa.field("text", _TEXT, nullable=False),  # normalised transcript
        pa.field("speaker", _TEXT),  # null where the source does not name one
    ],
    metadata={"asrscale_schema_version": str(SCHEMA_VERSION)},
)


@dataclass(frozen=True, eq=False)
class Index:
    """Utterances of one or more data set folders; INDEX_SCHEMA describes the columns."""

    shards: tuple[str, ...]  # (S,) absolute paths or URLs
    shard_bytes: npt.NDArray[np.int64]  # (S,) the size of each of `shards`
    shard_sha256: tuple[str, ...]  # (S,) the hash of each of `shards`; empty where dataset.json has none
    shard_ids: npt.NDArray[np.int32]  # (N,) which of `shards` an utterance is in
    offsets: npt.NDArray[np.int64]  # (N,)
    sizes: npt.NDArray[np.int64]  # (N,)
    crc32: npt.NDArray[np.uint32]  # (N,)
    num_samples: npt.NDArray[np.int64]  # (N,)
    keys: pa.LargeStringArray  # (N,)
    texts: pa.LargeStringArray  # (N,)
    speakers: pa.LargeStringArray  # (N,)
    text_rules: tuple[TextRules, ...]  # (S,) how the transcripts of each of `shards` are normalised
    characters: Counter[str]  # counts of those of all transcripts of the folders, also where this is a part of them
    notes: tuple[str, ...]  # lines about folders whose transcripts other steps normalised than those of now

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
        """Returns the utterances `ids`, in that order; the shards keep their numbers."""
        return Index(
            shards=self.shards,
            shard_bytes=self.shard_bytes,
            shard_sha256=self.shard_sha256,
            shard_ids=self.shard_ids.take(ids),
            offsets=self.offsets.take(ids),
            sizes=self.sizes.take(ids),
            crc32=self.crc32.take(ids),
            num_samples=self.num_samples.take(ids),
            keys=self.keys.take(ids),
            texts=self.texts.take(ids),
            speakers=self.speakers.take(ids),
            text_rules=self.text_rules,
            characters=self.characters,
            notes=self.notes,
        )

    def name(self, i: int) -> str:
        """Returns what to call utterance `i` in a message: shard path and key."""
        return f"{self.shards[self.shard_ids[i]]}:{self.keys[i]}"

    def unique_key(self, i: int) -> str:
        """Returns the key of utterance `i`, behind the name of its folder where several folders may share keys."""
        key: str = self.keys[i].as_py()
        return key if len(self.data_sets) == 1 else f"{self.data_set(i)}/{key}"

    @cached_property
    def data_sets(self) -> list[str]:
        """The names of the data set folders, the shortest that tell them apart."""
        return list(dict.fromkeys(self._data_set_of_shards))

    def data_set(self, i: int) -> str:
        """Returns the name of the folder of utterance `i`, one of `data_sets`."""
        return self._data_set_of_shards[int(self.shard_ids[i])]

    @cached_property
    def _data_set_of_shards(self) -> tuple[str, ...]:
        return names_of_data_sets(self.shards)

    def rules(self, i: int) -> TextRules:
        """Returns how the transcript of utterance `i` is normalised."""
        rules: TextRules = self.text_rules[self.shard_ids[i]]
        return rules

    def lies_in_shard(self, ids: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.bool_]:
        """Returns (len(ids),) whether the audio of each of these utterances lies inside of its shard."""
        offsets = self.offsets[ids]
        sizes = self.sizes[ids]
        room = self.shard_bytes[self.shard_ids[ids]] - offsets  # a sum might overflow
        is_inside: npt.NDArray[np.bool_] = (offsets >= 0) & (sizes >= 0) & (sizes <= room)
        return is_inside

    def payload(self, i: int) -> Range:
        """Returns where the audio of utterance `i` lies."""
        return Range(self.shards[self.shard_ids[i]], int(self.offsets[i]), int(self.sizes[i]))


def open_index_writer(path: str | os.PathLike[str]) -> pq.ParquetWriter:
    """Opens a new index.parquet for writing; each table that is written becomes a row group, which is a shard's.

    A run reads the whole footer: without the statistics and dictionaries that nobody uses, a shard takes 0.45 kB of it.
    """
    return pq.ParquetWriter(
        path,
        INDEX_SCHEMA,
        write_statistics=False,
        use_dictionary=["shard", "speaker"],
        compression="zstd",
    )


def write_index(path: str | os.PathLike[str], shards: Iterable[list[dict[str, Any]]]) -> None:
    """Writes index.parquet: each shard with utterances is a row group, each utterance a row.

    Args:
        path: Of the file.
        shards: The utterances of each shard, with the columns of INDEX_SCHEMA.
    """
    with open_index_writer(path) as writer:
        for utterances in shards:
            if utterances:
                writer.write_table(pa.Table.from_pylist(utterances, INDEX_SCHEMA))


def read_shards(catalog: Catalog, numbers: Iterable[int]) -> Index:
    """Reads the rows of some shards, in the order given.

    Args:
        catalog: Of the data set folders.
        numbers: Positions in `catalog.shards`.

    Raises:
        CliError: An index.parquet does not hold what its dataset.json says, or a shard is missing or of another size.
    """
    tables = [INDEX_SCHEMA.empty_table()]
    shard_ids = [np.zeros(0, np.int32)]
    wanted = [int(number) for number in numbers if catalog.utterances[number]]
    for folder, group in groupby(wanted, key=lambda number: os.path.dirname(catalog.shards[number])):
        shards = list(group)
        table = _read_row_groups(catalog, os.path.join(folder, INDEX_FILE), shards)
        if not is_remote(folder):
            _check_sizes(catalog, shards)
        tables.append(table)
        shard_ids.append(np.repeat(shards, catalog.utterances[shards]).astype(np.int32))
    table = pa.concat_tables(tables)
    all_shard_ids = np.concatenate(shard_ids)
    _check_lengths(catalog, all_shard_ids, table["num_samples"].to_numpy())
    return Index(
        shards=catalog.shards,
        shard_bytes=catalog.shard_bytes,
        shard_sha256=catalog.shard_sha256,
        shard_ids=all_shard_ids,
        offsets=table["offset"].to_numpy(),
        sizes=table["size"].to_numpy(),
        crc32=table["crc32"].to_numpy(),
        num_samples=table["num_samples"].to_numpy(),
        keys=table["key"].combine_chunks(),
        texts=table["text"].combine_chunks(),
        speakers=table["speaker"].combine_chunks(),
        text_rules=catalog.text_rules,
        characters=catalog.characters,
        notes=catalog.notes,
    )


def read_index(folders: Sequence[str]) -> Index:
    """Reads all rows of data set folders.

    Raises:
        CliError: As `read_catalog` and `read_shards`.
    """
    catalog = read_catalog(folders)
    return read_shards(catalog, range(len(catalog.shards)))


def _read_row_groups(catalog: Catalog, path: str, shards: Sequence[int]) -> pa.Table:
    """Reads the rows of some shards from the index.parquet beside them; keeps its footer in the catalog.

    Raises:
        CliError: It cannot be read, or does not hold what dataset.json says.
    """
    try:
        # A local one by its name: Arrow's threads free what they read through a Python file after the interpreter
        # is gone, where the process ends just then, and abort it.
        source = open_binary(path) if is_remote(path) else path
        with pq.ParquetFile(source, metadata=catalog.footers.get(path)) as file:
            catalog.footers[path] = file.metadata
            _check_row_groups(path, file.metadata, catalog, shards)
            _check_text_sizes(source, file.metadata, catalog.row_groups[shards].tolist())
            table = file.read_row_groups(catalog.row_groups[shards].tolist(), use_threads=False)
        names = table["shard"].combine_chunks()
    except (OSError, KeyError, IndexError, ValueError, pa.ArrowException) as error:
        why = " ".join(str(error).split())
        raise CliError(f"{path} is damaged ({why}): {REBUILD}") from error
    is_index = table.schema.equals(INDEX_SCHEMA, check_metadata=True)
    has_all_rows = table.num_rows == int(catalog.utterances[shards].sum())
    if not is_index or not has_all_rows or not names.equals(_promised_names(catalog, shards)):
        raise CliError(f"{path} does not hold what {DATASET_FILE} beside it says: {REBUILD}")
    return table


def _check_row_groups(path: str, metadata: pq.FileMetaData, catalog: Catalog, shards: Sequence[int]) -> None:
    """Raises where an index has other numbers of rows than are promised, or pages than its footer says.

    Raises:
        CliError: Other rows.
        ValueError: Other pages.
    """
    with open_binary(path) as file:
        for shard in shards:
            number = int(catalog.row_groups[shard])
            if metadata.row_group(number).num_rows != catalog.utterances[shard]:
                raise CliError(f"{path} does not hold what {DATASET_FILE} beside it says: {REBUILD}")
            check_pages(file, metadata, number)


def _check_text_sizes(source: Any, metadata: pq.FileMetaData, row_groups: Sequence[int]) -> None:
    """Raises ValueError where the texts of a shard would take more memory than those of any real one."""
    for number in row_groups:
        max_bytes = _TEXTS_BYTES + metadata.row_group(number).num_rows * _TEXT_BYTES
        check_expanded_size(source, metadata, number, max_bytes=max_bytes)


def _promised_names(catalog: Catalog, shards: Sequence[int]) -> pa.LargeStringArray:
    """Returns what the column `shard` of these shards' rows must hold, by what dataset.json says of them."""
    names = pa.array([os.path.basename(catalog.shards[number]) for number in shards], _TEXT)
    return names.take(np.repeat(np.arange(len(shards)), catalog.utterances[shards]))


def _check_lengths(catalog: Catalog, shard_ids: npt.NDArray[np.int32], num_samples: npt.NDArray[np.int64]) -> None:
    """Raises CliError where utterances are longer than dataset.json says: plans and memory follow from it."""
    is_wrong = (num_samples < 0) | (num_samples > catalog.longest_samples[shard_ids])
    if is_wrong.any():
        shard = catalog.shards[shard_ids[np.flatnonzero(is_wrong)[0]]]
        path = os.path.join(os.path.dirname(shard), INDEX_FILE)
        raise CliError(f"{path} does not hold what {DATASET_FILE} beside it says of the lengths in {shard}: {REBUILD}")


def _check_sizes(catalog: Catalog, shards: Iterable[int]) -> None:
    """Raises CliError where one of these local shards is missing or of another size than dataset.json says."""
    for number in shards:
        shard = catalog.shards[number]
        promised_bytes = int(catalog.shard_bytes[number])
        if not os.path.isfile(shard):
            raise CliError(f"{shard}: the shard is missing: copy it again or {REBUILD}")
        found_bytes = os.path.getsize(shard)
        if found_bytes != promised_bytes:
            raise CliError(
                f"{shard}: the shard has {found_bytes:,} bytes, not {promised_bytes:,}: copy it again or {REBUILD}"
            )
