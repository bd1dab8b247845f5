"""CSV files of recordings and transcripts to rows, and rows to splits."""

import csv
import hashlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from asrscale.errors import AudioError, CliError
from asrscale.text import normalise

AUDIO_COLUMN, TEXT_COLUMN = "filename", "text"  # as Common Voice v1 names them
HASH_BITS = 64


@dataclass(frozen=True)
class Row:
    """One row of a CSV.

    Attributes:
        line: Where the row starts in the file; the header is line 1.
        source: The CSV's path.
        audio: The recording's path as the CSV has it.
        text: The transcript as the CSV has it.
        extra: The other columns that are not empty, such as up_votes, age, accent.
    """

    line: int
    source: str
    audio: str
    text: str
    extra: dict[str, str]


def read_csv(path: str) -> list[Row]:
    """Reads a UTF-8 CSV with the columns `filename` and `text`.

    Header columns without a name are ignored: the real Common Voice v1 test CSV ends in some.

    Raises:
        CliError: The file is missing or empty, is no UTF-8 or no CSV, lacks a column, or has a row whose fields do not
            match the header (a text with a comma but no quotes would otherwise lose its end without a word).
    """
    rows = _read_records(path, _read_text(path))
    _, header = next(rows, (0, []))
    names = [name.strip() for name in header]
    named = max((position for position, name in enumerate(names, start=1) if name), default=0)
    for needed in (AUDIO_COLUMN, TEXT_COLUMN):
        if names.count(needed) != 1:
            found = ", ".join(names[:named]) or "nothing"
            raise CliError(f"{path} line 1: needs one column '{needed}', the header has {found}: name the columns so")
    audio, text = names.index(AUDIO_COLUMN), names.index(TEXT_COLUMN)
    others = [(position, name) for position, name in enumerate(names) if name and position not in (audio, text)]
    result = []
    for line, fields in rows:
        if not named <= len(fields) <= len(names) or any(fields[named:]):
            raise CliError(
                f"{path} line {line}: {len(fields)} fields where the header has {named}: "
                "complete the row, and put quotes around a text that holds a comma"
            )
        extra = {name: fields[position] for position, name in others if fields[position].strip()}
        result.append(Row(line, path, fields[audio], fields[text], extra))
    if not result:
        raise CliError(f"{path}: has a header but no rows: add one row a recording")
    return result


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
    digest = hashlib.blake2b(f"{seed} {normalise(sentence)}".encode(), digest_size=HASH_BITS // 8).digest()
    return "valid" if int.from_bytes(digest, "little") < int(valid_fraction * 2**HASH_BITS) else "train"


def _read_text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise CliError(f"{path}: {error.strerror}: give the path of a CSV file") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CliError(f"{path} line {line}: not UTF-8: convert the file, as with iconv -t UTF-8") from error
    if not text.strip():
        raise CliError(f"{path}: the file is empty: it needs a header and one row a recording")
    return text


def _read_records(path: str, text: str) -> Iterator[tuple[int, list[str]]]:
    """The CSV's records that are not blank, each with the line it starts on."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)  # strict: a quote left open must not eat the rest
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise CliError(f"{path} line {line}: {error}: correct the quotes") from error
        if fields:
            yield line, fields
