"""How a table is written: what separates its fields, whether they may be quoted, whether it has a header."""

import csv
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from asrscale.common.errors import CliError
from asrscale.sources.refusals import refuse_table_without_columns
from asrscale.sources.rows import AUDIO_COLUMNS, TEXT_COLUMNS, ColumnNames, first_present
from asrscale.speech.decoding import AUDIO_EXTENSIONS

# In this order: a comma in a header is what separates it, a bar may be in a name.
DELIMITERS = (",", "\t", ";", "|")

# In a TSV and between bars quotes are part of the text, as in Common Voice and LJSpeech.
_WITHOUT_QUOTES = ("\t", "|")

_SEPARATOR_LINE = re.compile(r'"?sep=(.|\\t)"?', re.IGNORECASE)  # Excel's: what separates the fields of the next lines

# What tables like LJSpeech's that have a header call the name of a recording; elsewhere it is the number of a row.
_ID_COLUMNS = ("id", "utt_id", "utterance_id", "utt", "file_id", "wav_id", "name", "basename", "key")

FLEURS_COLUMNS = ("id", "file_name", "raw_transcription", "transcription", "phonemes", "num_samples", "gender")

_FLEURS_GENDERS = ("MALE", "FEMALE", "OTHER")


@dataclass(frozen=True)
class Dialect:
    """How a table is written.

    Attributes:
        delimiter: What separates the fields.
        is_quoted: Whether a field may have quotes around it, and then the delimiter and line ends in it.
        columns: The names of the columns where the table has no header; None where its first record is one.
        has_separator_line: Whether the first line only says what the delimiter is.
        skips_spaces: Whether the spaces behind a delimiter are not part of the field: SpeechBrain's tables have them.
    """

    delimiter: str
    is_quoted: bool
    columns: tuple[str, ...] | None = None
    has_separator_line: bool = False
    skips_spaces: bool = False


def separator_of_line(line: str) -> str:
    """Returns the delimiter that a line such as `sep=;` gives; an empty string for another line."""
    match = _SEPARATOR_LINE.fullmatch(line.strip("\r\n "))
    return match[1].replace("\\t", "\t") if match else ""


def recognise_dialect(path: str, first_line: str, names: ColumnNames) -> Dialect | None:
    """Returns how a table is written that begins with a line; None where it is like LJSpeech's: bars and no header.

    Raises:
        CliError: There is no header, and no telling what the columns are.
    """
    given_delimiter = separator_of_line(first_line)
    if given_delimiter:
        return Dialect(given_delimiter, is_quoted=True, has_separator_line=True)
    for delimiter in DELIMITERS:
        fields = split_fields(first_line, delimiter)
        if _has_needed_columns(fields, names):
            return _with_delimiter(first_line, delimiter)

    present = [delimiter for delimiter in DELIMITERS if delimiter in first_line]
    delimiter = next((each for each in ("|", "\t") if each in present), ";" if present == [";"] else ",")
    fields = split_fields(first_line, delimiter)
    if delimiter == "|" and not _are_numbers(names, fields):
        return None
    if not present and not fields[0].startswith("{"):
        refuse_table_without_columns(path, first_line)
    columns = _columns_without_header(path, fields, names)
    return _with_delimiter(first_line, delimiter, columns)


def _with_delimiter(first_line: str, delimiter: str, columns: tuple[str, ...] | None = None) -> Dialect:
    """Returns a dialect; a TSV or a table with bars is quoted only where its first field is."""
    is_quoted = delimiter not in _WITHOUT_QUOTES or first_line.lstrip().startswith('"')
    skips_spaces = all(field.startswith(" ") for field in first_line.split(delimiter)[1:])
    return Dialect(delimiter, is_quoted, columns, skips_spaces=skips_spaces)


def id_column_between_bars(first_line: str) -> str | None:
    """Returns the column of recordings in a header such as `id|text|speaker`; None where the line is no such header."""
    first, *others = split_fields(first_line, "|") or [""]
    return first if first.lower() in _ID_COLUMNS and first_present(TEXT_COLUMNS, others) else None


def split_fields(line: str, delimiter: str) -> list[str]:
    """Returns the fields of a line, without spaces around them."""
    try:
        [fields] = csv.reader([line.strip("\r\n")], delimiter=delimiter)
    except (csv.Error, ValueError):
        return []
    return [field.strip() for field in fields]


def _has_needed_columns(fields: Sequence[str], names: ColumnNames) -> bool:
    """Whether fields are names of columns, among them those of recordings and of transcripts."""
    audio = names.audio or first_present(AUDIO_COLUMNS, fields)
    text = names.text or first_present(TEXT_COLUMNS, fields)
    return audio in fields and text in fields


def _columns_without_header(path: str, fields: Sequence[str], names: ColumnNames) -> tuple[str, ...] | None:
    """Returns the names of the columns of a table without header; None where its first line is one.

    Where the user's names are numbers, these are the names of the columns. FLEURS's TSV is known, and a table of two
    columns, of which one names recordings.

    Raises:
        CliError: The line names a recording, but not what its other fields are.
    """
    if _are_numbers(names, fields):
        return tuple(_numbers_of(fields))
    is_fleurs = len(fields) == len(FLEURS_COLUMNS) and fields[5].isdigit() and fields[6] in _FLEURS_GENDERS
    if is_fleurs and is_recording(fields[1]):
        return FLEURS_COLUMNS
    recordings = [position for position, field in enumerate(fields) if is_recording(field)]
    if len(recordings) != 1 or len(fields) == 1:
        return None
    audio = recordings[0]
    if len(fields) == 2:
        return ("filename", "text") if audio == 0 else ("text", "filename")
    example = f"--audio_column {audio + 1} --text_column {2 if audio == 0 else 1}"
    cure = f"write one, or give the numbers of its columns, as in {example}"
    raise CliError(f"{path} line 1: names the recording {fields[audio]}, so the table has no header: {cure}")


def _are_numbers(names: ColumnNames, fields: Sequence[str]) -> bool:
    """Whether the user names the columns by their numbers, from 1."""
    return {names.audio, names.text} <= set(_numbers_of(fields))


def _numbers_of(fields: Sequence[str]) -> list[str]:
    """Returns the numbers of columns, from 1."""
    return [str(number) for number in range(1, len(fields) + 1)]


def is_recording(field: str) -> bool:
    """Whether a field is the name of an audio file."""
    return os.path.splitext(field)[1].lower().removeprefix(".") in AUDIO_EXTENSIONS
