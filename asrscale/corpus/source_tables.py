"""Readers of tables, one function a format: CSV, TSV, LJSpeech's metadata.csv."""

import csv
from collections.abc import Iterator
from typing import Literal, TypeAlias

from asrscale.common.errors import CliError
from asrscale.corpus.bar_layout import BarLayout, layout_of_bars
from asrscale.corpus.line_errors import LineError, refuse_all_mistakes
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


def read_ljspeech(path: str, layout: BarLayout = "text|normalised") -> Iterator[Row]:
    """Reads a table like LJSpeech's metadata.csv: `id|text|normalised text` a line, no header, sound in wavs/id.wav."""
    rows = (_row_of_bars(path, layout, record) for record in _read_bars(path))
    yield from refuse_all_mistakes(rows)


def recognise_bars(path: str) -> BarLayout:
    """Returns what stands behind the id in a table like LJSpeech's; raises CliError where that is not clear."""
    records = (record for record in _read_bars(path) if not isinstance(record, LineError))
    return layout_of_bars(path, records)


def _read_bars(path: str) -> Iterator[Record | LineError]:
    return _read_records(path, delimiter="|", quoting=csv.QUOTE_NONE)


def _row_of_bars(path: str, layout: BarLayout, record: Record | LineError) -> Row | LineError:
    """Returns the row of a record, or its mistake."""
    if isinstance(record, LineError):
        return record
    line, fields = record
    if len(fields) not in (2, 3):
        return LineError(path, line, f"{len(fields)} fields between bars", "give id|text|normalised text")
    name, second, third = [*fields, ""][:3]
    if layout == "text|normalised" or len(fields) == 2:
        text, speaker = third.strip() or second, ""
    elif layout == "text|speaker":
        text, speaker = second, third.strip()
    else:
        text, speaker = third, second.strip()
    return Row(line=line, source=path, audio=f"{name}.wav", text=text, extra={"speaker": speaker} if speaker else {})


def _read_table(path: str, records: Iterator[Record | LineError]) -> Iterator[Row]:
    """Makes rows of records, whose first is the header.

    Columns without a name are ignored, and a row may lack those at its end: Common Voice v1's test CSV has some.
    """
    first = next(records, (1, []))
    if isinstance(first, LineError):
        raise first
    _, header = first
    names = [name.strip() for name in header]
    named_positions = [position for position, name in enumerate(names, start=1) if name]
    num_named = max(named_positions, default=0)
    _check_needed_columns(path, names[:num_named])

    rows = (_row_of_record(path, names, num_named, record) for record in records)
    yield from refuse_all_mistakes(rows)


def _row_of_record(path: str, names: list[str], num_named: int, record: Record | LineError) -> Row | LineError:
    """Returns the row of a record, or its mistake.

    Args:
        path: The table.
        names: Those of the columns, which may be empty.
        num_named: How many columns there are up to the last that has a name.
        record: The record.
    """
    if isinstance(record, LineError):
        return record
    line, fields = record
    has_all_columns = num_named <= len(fields) <= len(names)
    if not has_all_columns or any(fields[num_named:]):
        # Not guessed at: a text with a comma but no quotes would lose its end without notice.
        cure = "complete the row, and put quotes around a text that holds a comma"
        return LineError(path, line, f"{len(fields)} fields where the header has {num_named}", cure)
    try:
        return row_of_columns(line, path, dict(zip(names, fields, strict=False)))
    except LineError as error:
        return error


def _check_needed_columns(path: str, names: list[str]) -> None:
    """Raises CliError where the header does not have exactly one column of recordings and one of transcripts."""
    for candidates in (AUDIO_COLUMNS, TEXT_COLUMNS):
        needed = first_present(candidates, names) or candidates[0]
        if names.count(needed) != 1:
            found = ", ".join(names) or "nothing"
            cure = f"name the columns so ({' or '.join(candidates[1:])} will do, too)"
            raise CliError(f"{path} line 1: needs one column '{candidates[0]}', the header has {found}: {cure}")


def _read_records(path: str, *, delimiter: str, quoting: Literal[0, 3]) -> Iterator[Record | LineError]:
    """Reads the records that are not blank, and the mistakes among them.

    `quoting` is csv.QUOTE_MINIMAL (0) or csv.QUOTE_NONE (3).
    """
    # strict: a quote left open is an error, where else it would swallow the rest of the file.
    reader = csv.reader(read_lines(path), delimiter=delimiter, quoting=quoting, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield LineError(path, line, str(error), "correct the quotes")
            continue
        if fields:
            yield line, fields
