"""Readers of tables, one function a format: CSV, TSV, LJSpeech's metadata.csv."""

import csv
from collections.abc import Iterator
from typing import Literal, TypeAlias

from asrscale.common.errors import CliError
from asrscale.corpus.rows import AUDIO_COLUMNS, TEXT_COLUMNS, Row, first_present, row_of_columns
from asrscale.corpus.source_lines import read_lines

# The fields of a record, and the line that it starts on: quotes may hold line ends.
Record: TypeAlias = tuple[int, list[str]]


def read_csv(path: str) -> Iterator[Row]:
    """Reads a CSV with a header; a field that holds a comma, a quote or a line end has quotes around it."""
    return _read_table(path, _read_records(path, delimiter=",", quoting=csv.QUOTE_MINIMAL))


def read_tsv(path: str) -> Iterator[Row]:
    """Reads a TSV with a header, as Common Voice's: its quotes are part of the text."""
    return _read_table(path, _read_records(path, delimiter="\t", quoting=csv.QUOTE_NONE))


def read_ljspeech(path: str) -> Iterator[Row]:
    """Reads LJSpeech's metadata.csv: `id|text|normalised text` a line, no header, the recording in wavs/id.wav."""
    for line, fields in _read_records(path, delimiter="|", quoting=csv.QUOTE_NONE):
        if len(fields) not in (2, 3):
            raise CliError(f"{path} line {line}: {len(fields)} fields between bars: give id|text|normalised text")
        name, text = fields[:2]
        normalised_text = fields[-1].strip()
        yield Row(line=line, source=path, audio=f"{name}.wav", text=normalised_text or text, extra={})


def _read_table(path: str, records: Iterator[Record]) -> Iterator[Row]:
    """Makes rows of records, whose first is the header.

    Columns without a name are ignored, and a row may lack those at its end: Common Voice v1's test CSV has some.
    """
    _, header = next(records, (1, []))
    names = [name.strip() for name in header]
    named_positions = [position for position, name in enumerate(names, start=1) if name]
    num_named = max(named_positions, default=0)
    _check_needed_columns(path, names[:num_named])

    for line, fields in records:
        has_all_columns = num_named <= len(fields) <= len(names)
        if not has_all_columns or any(fields[num_named:]):
            # Not guessed at: a text with a comma but no quotes would lose its end without notice.
            cure = "complete the row, and put quotes around a text that holds a comma"
            raise CliError(f"{path} line {line}: {len(fields)} fields where the header has {num_named}: {cure}")
        yield row_of_columns(line, path, dict(zip(names, fields, strict=False)))


def _check_needed_columns(path: str, names: list[str]) -> None:
    """Raises CliError where the header does not have exactly one column of recordings and one of transcripts."""
    for candidates in (AUDIO_COLUMNS, TEXT_COLUMNS):
        needed = first_present(candidates, names) or candidates[0]
        if names.count(needed) != 1:
            found = ", ".join(names) or "nothing"
            cure = f"name the columns so ({' or '.join(candidates[1:])} will do, too)"
            raise CliError(f"{path} line 1: needs one column '{candidates[0]}', the header has {found}: {cure}")


def _read_records(path: str, *, delimiter: str, quoting: Literal[0, 3]) -> Iterator[Record]:
    """Reads the records that are not blank; `quoting` is csv.QUOTE_MINIMAL (0) or csv.QUOTE_NONE (3)."""
    # strict: a quote left open is an error, where else it would swallow the rest of the file.
    reader = csv.reader(read_lines(path), delimiter=delimiter, quoting=quoting, strict=True)
    line = 1
    try:
        for fields in reader:
            if fields:
                yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise CliError(f"{path} line {line}: {error}: correct the quotes") from error
