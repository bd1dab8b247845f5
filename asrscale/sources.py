"""CSV files of recordings and transcripts to rows, and rows to splits."""

import csv
import hashlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from asrscale.errors import AudioError, CliError
from asrscale.text import normalise

AUDIO_COLUMN, TEXT_COLUMN = "filename", "text"  # as Common Voice v1 names them


@dataclass(frozen=True)
class Row:
    """One row of a CSV, its fields as they stand there."""

    line: int  # where the row starts in the file; the header is line 1
    source: str  # the CSV's path
    audio: str  # the recording's path
    text: str
    extra: dict[str, str]  # the other columns that are not empty, such as up_votes, age, accent


def read_csv(path: str) -> list[Row]:
    """Reads a UTF-8 CSV with the columns `filename` and `text`.

    Header columns without a name are ignored: the real Common Voice v1 test CSV ends in some.

    Raises:
        CliError: The file is missing or empty, is no UTF-8 or no CSV, lacks a column, or has a row whose fields do not
            match the header (a text with a comma but no quotes would otherwise lose its end without a word).
    """
    records = _read_records(path)
    _, header = next(records, (1, []))
    names = [name.strip() for name in header]
    named = max((position for position, name in enumerate(names, start=1) if name), default=0)
    for needed in (AUDIO_COLUMN, TEXT_COLUMN):
        if names.count(needed) != 1:
            found = ", ".join(names[:named]) or "nothing"
            raise CliError(f"{path} line 1: needs one column '{needed}', the header has {found}: name the columns so")
    rows = []
    for line, fields in records:
        if not named <= len(fields) <= len(names) or any(fields[named:]):
            raise CliError(
                f"{path} line {line}: {len(fields)} fields where the header has {named}: "
                "complete the row, and put quotes around a text that holds a comma"
            )
        columns = dict(zip(names, fields, strict=False))
        audio, text = columns.pop(AUDIO_COLUMN), columns.pop(TEXT_COLUMN)
        extra = {name: field for name, field in columns.items() if name and field.strip()}
        rows.append(Row(line, path, audio, text, extra))
    if not rows:
        raise CliError(f"{path}: has a header but no rows: add one row a recording")
    return rows


def audio_path(row: Row, audio_root: str) -> str:
    """Where the row's recording lies.

    Raises:
        AudioError: The path leaves `audio_root`. Links in there may lead anywhere: their owner made them, not the CSV.
    """
    root = os.path.abspath(audio_root)
    path = os.path.abspath(os.path.join(root, row.audio))
    if os.path.commonpath((root, path)) != root:
        raise AudioError("path outside the audio root: move the recording below it, or give another --audio_root")
    return path


def split_by_sentence(sentence: str, seed: int, valid_fraction: float) -> Literal["train", "valid"]:
    """The split of every clip of a sentence.

    Depends on the normalised sentence and the seed alone, so a sentence is never in both splits, and adding data moves
    no clip from one to the other.
    """
    digest = hashlib.blake2b(f"{seed} {normalise(sentence)}".encode(), digest_size=8).digest()
    return "valid" if int.from_bytes(digest, "little") < int(valid_fraction * 2**64) else "train"


def _read_records(path: str) -> Iterator[tuple[int, list[str]]]:
    """The CSV's records that are not blank, each with the line it starts on."""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise CliError(f"{path}: {error.strerror}: give the path of a CSV file") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise CliError(f"{path} line {line}: not UTF-8: convert the file, as with iconv -t UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)  # strict: a quote left open must not eat the rest
    line = 1
    try:
        for fields in reader:
            if fields:
                yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise CliError(f"{path} line {line}: {error}: correct the quotes") from error
