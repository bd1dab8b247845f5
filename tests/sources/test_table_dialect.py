"""How a table is written, by its first line."""

import pytest

from asrscale.common.errors import CliError
from asrscale.sources.rows import ColumnNames
from asrscale.sources.table_dialect import (
    FLEURS_COLUMNS,
    Dialect,
    id_column_between_bars,
    recognise_dialect,
    separator_of_line,
    split_fields,
)

NO_NAMES = ColumnNames()


@pytest.mark.parametrize(
    ("line", "dialect"),
    [
        ("filename,text", Dialect(",", is_quoted=True)),
        ("path\tsentence", Dialect("\t", is_quoted=False)),
        ("filename;text", Dialect(";", is_quoted=True)),
        ("filename|text", Dialect("|", is_quoted=False)),
        ('"filename"|"text"', Dialect("|", is_quoted=True)),
        ("ID, duration, wav, wrd", Dialect(",", is_quoted=True, skips_spaces=True)),
        ("sep=;", Dialect(";", is_quoted=True, has_separator_line=True)),
        ("a.wav,hello", Dialect(",", is_quoted=True, columns=("filename", "text"))),
        ("hello\ta.wav", Dialect("\t", is_quoted=False, columns=("text", "filename"))),
        (
            "1\ta.wav\tHi\thi\th i\t16000\tMALE",
            Dialect("\t", is_quoted=False, columns=FLEURS_COLUMNS),
        ),
        ("LJ001-0001|Printing|printing", None),
    ],
)
def test_the_first_line_tells(line: str, dialect: Dialect | None) -> None:
    assert recognise_dialect("a.csv", line, NO_NAMES) == dialect


def test_columns_by_number() -> None:
    names = ColumnNames(audio="2", text="3")
    assert recognise_dialect("a.csv", "x,a.wav,hello", names) == Dialect(",", is_quoted=True, columns=("1", "2", "3"))


def test_a_table_without_a_header_whose_columns_cannot_be_told() -> None:
    with pytest.raises(CliError, match=r"^a\.csv line 1: names the recording a\.wav, .* --audio_column 1"):
        recognise_dialect("a.csv", "a.wav,hello,ann", NO_NAMES)


@pytest.mark.parametrize(
    ("line", "separator"), [("sep=;\r\n", ";"), ('"sep=|"', "|"), (r"SEP=\t", "\t"), ("separator", ""), ("sep=", "")]
)
def test_the_line_that_spreadsheets_write(line: str, separator: str) -> None:
    assert separator_of_line(line) == separator


def test_the_fields_of_a_line() -> None:
    assert split_fields('a,"b, c", d \r\n', ",") == ["a", "b, c", "d"]
    assert split_fields("", ",") == []


def test_a_header_of_ids_between_bars() -> None:
    assert id_column_between_bars("ID|text|speaker") == "ID"
    assert id_column_between_bars("LJ001-0001|Printing|printing") is None
