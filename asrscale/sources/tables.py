"""Readers of tables: CSV, TSV and the like, and LJSpeech's metadata.csv."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from asrscale.common.errors import CliError
from asrscale.sources.bar_layout import BarLayout, layout_of_bars
from asrscale.sources.line_errors import LineError, refuse_all_mistakes
from asrscale.sources.lines import MAX_LINE_BYTES, read_lines, too_long
from asrscale.sources.rows import AUDIO_COLUMNS, TEXT_COLUMNS, ColumnNames, Row, first_present, row_of_columns
from asrscale.sources.table_dialect import Dialect, is_recording

# The fields of a record, and the line that it starts on: quotes may hold line ends.
Record: TypeAlias = tuple[int, list[str]]

_DELIMITER_NAMES = {",": "a comma", "\t": "a tab", ";": "a semicolon", "|": "a bar"}


def read_table(path: str, dialect: Dialect, names: ColumnNames) -> Iterator[Row]:
    """Reads a table with a header, or with the columns of the dialect; `names` are those that the user names."""
    records = _read_records(path, dialect)
    if dialect.has_separator_line:
        next(records, None)
    line, header = 1, list(dialect.columns or ())
    if not header:
        first = next(records, (1, []))
        if isinstance(first, LineError):
            raise first
        line, header = first
    table = _Table(path, dialect, names, columns=[name.strip() for name in header])
    _check_needed_columns(table, line)
    rows = (_row_of_record(table, record) for record in records)
    yield from refuse_all_mistakes(rows)


def read_ljspeech(path: str, layout: BarLayout = "text|normalised") -> Iterator[Row]:
    """Reads a table like LJSpeech's metadata.csv: `id|text|normalised text` a line, no header, sound in wavs/id.wav."""
    rows = (_row_of_bars(path, layout, record) for record in _read_bars(path))
    yield from refuse_all_mistakes(rows)


def recognise_bars(path: str) -> BarLayout:
    """Returns what stands behind the id in a table like LJSpeech's; raises CliError where that is not clear."""
    records = (record for record in _read_bars(path) if not isinstance(record, LineError))
    return layout_of_bars(path, records)


def _read_bars(path: str) -> Iterator[Record | LineError]:
    return _read_records(path, Dialect("|", is_quoted=False))


def _row_of_bars(path: str, layout: BarLayout, record: Record | LineError) -> Row | LineError:
    """Returns the row of a record, or its mistake."""
    if isinstance(record, LineError):
        return record
    line, fields = record
    if len(fields) not in (2, 3):
        return LineError(
            path, line, f"{len(fields)} fields between bars", "give id|text, or name the fields in a first line"
        )
    name, second, third = [*fields, ""][:3]
    if layout == "text|normalised" or len(fields) == 2:
        text, speaker = third.strip() or second, ""
    elif layout == "text|speaker":
        text, speaker = second, third.strip()
    else:
        text, speaker = third, second.strip()
    audio = name if is_recording(name) else f"{name}.wav"
    return Row(line=line, source=path, audio=audio, text=text, extra={"speaker": speaker} if speaker else {})


@dataclass(frozen=True)
class _Table:
    """A table whose header is read.

    Attributes:
        path: Its file.
        dialect: How it is written.
        names: The columns that the user names.
        columns: The names of all columns; those that are empty are ignored.
    """

    path: str
    dialect: Dialect
    names: ColumnNames
    columns: list[str]

    @property
    def num_named(self) -> int:
        """How many columns there are up to the last that has a name; a row may lack those behind it.

        Common Voice v1's test CSV has some without a name.
        """
        return max((position for position, name in enumerate(self.columns, start=1) if name), default=0)


def _row_of_record(table: _Table, record: Record | LineError) -> Row | LineError:
    """Returns the row of a record, or its mistake."""
    if isinstance(record, LineError):
        return record
    line, fields = record
    has_all_columns = table.num_named <= len(fields) <= len(table.columns)
    if not has_all_columns or any(fields[table.num_named :]):
        # Not guessed at: a text with a comma but no quotes would lose its end without notice.
        problem = f"{len(fields)} fields where the header has {table.num_named}"
        return LineError(table.path, line, problem, _cure_of_fields(table.dialect))
    try:
        return row_of_columns(line, table.path, dict(zip(table.columns, fields, strict=False)), table.names)
    except LineError as error:
        return error


def _cure_of_fields(dialect: Dialect) -> str:
    """Returns what to do about a row with too few or too many fields."""
    delimiter = _DELIMITER_NAMES.get(dialect.delimiter, f"'{dialect.delimiter}'")
    if dialect.is_quoted:
        return f"complete the row, and put quotes around a text that holds {delimiter}"
    return f"complete the row, and take {delimiter} or a line end out of its text: quotes do not help in such a table"


def _check_needed_columns(table: _Table, line: int) -> None:
    """Raises CliError where the header does not have exactly one column of recordings and one of transcripts."""
    columns = table.columns[: table.num_named]
    audio = table.names.audio or first_present(AUDIO_COLUMNS, columns)
    text = table.names.text or first_present(TEXT_COLUMNS, columns)
    twice = [name for name in (audio, text) if columns.count(name) > 1]
    if twice:
        raise CliError(f"{table.path} line {line}: two columns are named '{twice[0]}': rename one")
    missing = [
        f"'{found or known[0]}'"
        for found, known in ((audio, AUDIO_COLUMNS), (text, TEXT_COLUMNS))
        if found not in columns
    ]
    if missing:
        needed = f"needs one column {' and one '.join(missing)}"
        header = ", ".join(columns) or "nothing"
        cure = "give the names of the columns with --audio_column and --text_column"
        raise CliError(f"{table.path} line {line}: {needed}, the header has {header}: {cure}")


class _LinesOfRecord:
    """The lines of a table, of which a record may have several; an iterator for `csv.reader`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lines = enumerate(read_lines(path), start=1)
        self._record_bytes = 0
        self._record_line = 0

    def begin_record(self) -> None:
        """Is called before each record."""
        self._record_bytes = self._record_line = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        number, line = next(self._lines)
        self._record_line = self._record_line or number
        self._record_bytes += len(line)
        if self._record_bytes > MAX_LINE_BYTES:
            raise too_long(self._path, self._record_line)
        return line


def _read_records(path: str, dialect: Dialect) -> Iterator[Record | LineError]:
    """Reads the records that are not blank, and the mistakes among them."""
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if dialect.is_quoted else csv.QUOTE_NONE
    lines = _LinesOfRecord(path)
    # strict: a quote left open is an error, where else it would swallow the rest of the file.
    reader = csv.reader(
        lines,
        delimiter=dialect.delimiter,
        quoting=quoting,
        skipinitialspace=dialect.skips_spaces,
        strict=True,
    )
    while True:
        line = reader.line_num + 1
        lines.begin_record()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield LineError(path, line, str(error), "correct the quotes")
            continue
        if fields:
            yield line, fields
