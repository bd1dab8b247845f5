"""Reader of Parquet files that hold recordings, as the library `datasets` writes them; local, or as hf://datasets/….

The recordings are copied once into a tar of the build's folder, one for each file: rows fill shards in a random order,
and Parquet can only be read a group of hundreds of rows at a time.
"""

import io
import json
import os
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from asrscale.common.errors import CliError
from asrscale.common.storage import Range, error_line, open_binary
from asrscale.data.parquet_pages import check_pages
from asrscale.data.tars import MAX_MEMBER_BYTES, tar_members
from asrscale.sources.rows import AUDIO_COLUMNS, TEXT_COLUMNS, ColumnNames, Row, first_present, row_of_columns
from asrscale.sources.split_names import SPLIT_COLUMN
from asrscale.sources.tar_samples import row_in_tar
from asrscale.sources.unpack import unpack_once

ROWS_AT_ONCE = 100  # in memory, with their recordings

# Rows in memory take no more than this, but for a single one.
_BYTES_AT_ONCE = 96 * 1024**2

_TAR = "recordings.tar"

# What the class of `datasets` writes instead where it is given samples without an encoding.
_DECODED_MEMBER = "array"


def read_parquet(
    paths_by_split: Mapping[str, Sequence[str]], names: ColumnNames, unpack_folder: str | None
) -> Iterator[Row]:
    """Reads Parquet files with a column of recordings, a struct of `bytes` and `path` or bytes, and one of transcripts.

    A recording without bytes is the file that its path names.

    Args:
        paths_by_split: The files; the rows of those of a split with a name have it in their column SPLIT_COLUMN.
        names: The columns that the user names.
        unpack_folder: Where the recordings are copied to, to be read from there.

    Raises:
        CliError: A file is damaged or has no such columns, or there is no place for the recordings.
    """
    numbers = count(1)
    for split, paths in paths_by_split.items():
        extra = {SPLIT_COLUMN: split} if split else {}
        for path in paths:
            yield from _read_file(path, names, unpack_folder, extra, numbers)


def _read_file(
    path: str, names: ColumnNames, unpack_folder: str | None, extra: Mapping[str, str], numbers: Iterator[int]
) -> Iterator[Row]:
    """Reads one file; the rows also have the columns `extra`, and the next ones of the numbers as their lines."""
    try:
        with open_binary(path) as file:
            table = pq.ParquetFile(file)
            for group in range(table.num_row_groups):
                check_pages(file, table.metadata, group)
            audio_column = _audio_column(path, table.schema_arrow, names)
            _check_text_column(path, table.schema_arrow, names)
            places = _copied_recordings(path, table, audio_column, unpack_folder)
            for position, columns in enumerate(_read_columns(table, audio_column)):
                place = places.get(position)
                name = columns[audio_column] or f"{os.path.basename(path)}-{position}"
                columns |= {audio_column: name, **extra}
                too_long = [column for column, text in columns.items() if len(text) > MAX_MEMBER_BYTES]
                columns |= dict.fromkeys(too_long, "")
                row = row_of_columns(next(numbers), path, columns, names=_with_audio(names, audio_column))
                if too_long:
                    why = f"'{too_long[0]}' has more than {MAX_MEMBER_BYTES:,} characters, which no text has"
                    row = replace(row, unusable=f"unusable transcript: {why}")
                yield row_in_tar(row, place) if place else row
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: names that are not UTF-8
        raise CliError(f"{path}: cannot be read as Parquet ({error_line(error)}): copy it again") from error


def _with_audio(names: ColumnNames, audio_column: str) -> ColumnNames:
    """Returns the names of columns with that of the recordings."""
    return ColumnNames(audio=audio_column, text=names.text, speaker=names.speaker)


def _audio_column(path: str, schema: pa.Schema, names: ColumnNames) -> str:
    """Returns the column of recordings: the one that is named, or has bytes in it, or else that of paths to files.

    Raises:
        CliError: There is none, or its recordings are samples without an encoding.
    """
    with_bytes = [field.name for field in schema if _has_bytes(field.type)]
    of_text = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]
    decoded = [field.name for field in schema if _struct_members(field.type).issuperset({_DECODED_MEMBER})]
    column = names.audio or first_present(AUDIO_COLUMNS, with_bytes) or next(iter(with_bytes), "")
    column = column or first_present(AUDIO_COLUMNS, of_text)
    if column and column in with_bytes + of_text:
        return column
    if decoded:
        cure = f"write it anew with bytes: dataset.cast_column('{decoded[0]}', Audio()).to_parquet(FILE)"
        raise CliError(f"{path}: '{decoded[0]}' has decoded samples, not recordings: {cure}")
    found = ", ".join(schema.names)
    cure = "give one that has, or name the column of paths with --audio_column"
    raise CliError(f"{path}: a Parquet without a column '{column or 'audio'}' of recordings; it has {found}: {cure}")


def _check_text_column(path: str, schema: pa.Schema, names: ColumnNames) -> None:
    """Raises CliError where there is no column of transcripts."""
    if (names.text or first_present(TEXT_COLUMNS, schema.names)) not in schema.names:
        found = ", ".join(schema.names)
        cure = "name it with --text_column"
        raise CliError(f"{path}: no column '{names.text or 'text'}' of transcripts; it has {found}: {cure}")


def _struct_members(data_type: pa.DataType) -> set[str]:
    """Returns the names of a struct's members; none for another type."""
    return {field.name for field in data_type} if pa.types.is_struct(data_type) else set()


def _is_binary(data_type: pa.DataType) -> bool:
    """Whether a column of the type has bytes."""
    return bool(pa.types.is_binary(data_type) or pa.types.is_large_binary(data_type))


def _has_bytes(data_type: pa.DataType) -> bool:
    """Whether a column has recordings: bytes, or a struct with `bytes`, as the Audio of `datasets`."""
    if "bytes" in _struct_members(data_type):
        return _is_binary(data_type.field("bytes").type)
    return _is_binary(data_type)


def _copied_recordings(
    path: str, table: pq.ParquetFile, audio_column: str, unpack_folder: str | None
) -> dict[int, Range]:
    """Returns where the recordings of a file lie in the tar that they are copied to, by the positions of their rows."""
    if not _has_bytes(table.schema_arrow.field(audio_column).type):
        return {}
    if unpack_folder is None:
        raise CliError(f"{path}: recordings in a Parquet can only be built into shards: give it as --csv of a build")
    state = str(table.metadata.to_dict())  # with the places and statistics of all that is in the file
    folder = unpack_once(path, state, unpack_folder, partial(_copy_recordings, table, audio_column, state))
    return {int(name): place for name, place in tar_members(os.path.join(folder, _TAR))}


def _copy_recordings(table: pq.ParquetFile, audio_column: str, state: str, folder: str) -> None:
    """Writes the recordings to a tar; the name of each is the position of its row.

    The tar's time of change follows from the file's state: by it a build knows whether its recordings have changed.
    """
    path = os.path.join(folder, _TAR)
    positions = count()
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for batch in _batches(table, [audio_column]):
            for value in batch.column(0).to_pylist():
                position = next(positions)
                content = value.get("bytes") if isinstance(value, dict) else value
                if content is not None:
                    member = tarfile.TarInfo(str(position))
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    seconds = zlib.crc32(state.encode())
    os.utime(path, (seconds, seconds))


def _read_columns(table: pq.ParquetFile, audio_column: str) -> Iterator[dict[str, str]]:
    """Yields the columns of each row as text, without the bytes of its recording; of it, the path or nothing."""
    schema = table.schema_arrow
    labels = _class_labels(schema)
    names = [field.name for field in schema if field.name != audio_column and not _has_bytes(field.type)]
    audio_type = schema.field(audio_column).type
    has_path = "path" in _struct_members(audio_type) or not _has_bytes(audio_type)
    audio_path = f"{audio_column}.path" if "path" in _struct_members(audio_type) else audio_column
    columns = [*names, audio_path] if has_path else names
    for batch in _batches(table, columns):
        for values in batch.to_pylist():
            audio = values.pop(audio_column, None)
            path = audio.get("path") if isinstance(audio, dict) else audio
            texts = {name: _as_text(value, labels.get(name)) for name, value in values.items()}
            yield texts | {audio_column: path or ""}


def _batches(table: pq.ParquetFile, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yields the rows of a file, as many at once as surely fit into the memory."""
    for group in range(table.num_row_groups):
        rows = _rows_at_once(table.metadata.row_group(group), columns)
        yield from table.iter_batches(batch_size=rows, row_groups=[group], columns=columns)


def _rows_at_once(group: pq.RowGroupMetaData, columns: Sequence[str]) -> int:
    """Returns how many rows of a row group are read at once: few, where each may be as large as a whole dictionary."""
    chunks = [group.column(number) for number in range(group.num_columns)]
    wanted = [chunk for chunk in chunks if chunk.path_in_schema.startswith(tuple(columns))]
    row_bytes = sum(int(chunk.total_uncompressed_size) for chunk in wanted if chunk.has_dictionary_page)
    return max(1, min(ROWS_AT_ONCE, _BYTES_AT_ONCE // max(1, row_bytes)))


def _class_labels(schema: pa.Schema) -> dict[str, list[str]]:
    """Returns the labels of the columns that `datasets` stores as numbers of labels."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: feature["names"] for name, feature in features.items() if feature.get("_type") == "ClassLabel"}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _as_text(value: Any, labels: list[str] | None) -> str:
    """Returns a value as the field of a column: null is empty, numbers have their labels, other values are JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if labels and isinstance(value, int) and 0 <= value < len(labels):
        return labels[value]
    return json.dumps(value, default=str, ensure_ascii=False)
