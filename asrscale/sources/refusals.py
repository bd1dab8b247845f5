"""Files that are no source, or one that is not read: what each is, and what to give instead."""

import json
import os
import re
from itertools import islice
from typing import Any

from asrscale.common.errors import CliError
from asrscale.sources.lines import read_lines

MAX_JSON_LINES = 1_000_000  # of a JSON that is not an object a line, read to see what it is

_BINARY_KINDS = (  # what a file begins with, what it is, what to do
    (
        b"PK\x03\x04",
        "a zip, as Excel's xlsx and LibreOffice's ods are",
        "save the table as CSV (UTF-8), or unpack the zip",
    ),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook (xls)", "save the table as CSV (UTF-8)"),
    (b"\xff\xfe", "UTF-16 text", "convert it, as with iconv -f UTF-16 -t UTF-8"),
    (b"\xfe\xff", "UTF-16 text", "convert it, as with iconv -f UTF-16 -t UTF-8"),
    (b"ARROW1", "an Arrow file", "write it as Parquet, as with Dataset.to_parquet(FILE)"),
    (
        b"\xff\xff\xff\xff",
        "an Arrow stream, as datasets keeps in its cache",
        "write it as Parquet: Dataset.to_parquet(FILE)",
    ),
    (b"\x89HDF", "an HDF5 file", "write its table as CSV and its recordings as files"),
    (b"SQLite format 3", "an SQLite database", "export its table as CSV"),
    (b"\x80\x04\x95", "a pickle, which is never read, as it may run anything", "write the table as CSV"),
    (b"\x80\x05\x95", "a pickle, which is never read, as it may run anything", "write the table as CSV"),
    (b"\xfd7zXZ", "an xz file", "unpack it with xz -d"),
    (b"BZh", "a bzip2 file", "unpack it with bzip2 -d"),
    (b"\x28\xb5\x2f\xfd", "a zstd file", "unpack it with zstd -d"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it and give its folder"),
    (b"Rar!", "a RAR archive", "unpack it and give its folder"),
    (b"%PDF", "a PDF", "give a table of recordings and transcripts"),
    (b"RIFF", "a recording", "give the table that has its transcript"),
    (b"fLaC", "a recording", "give the table that has its transcript"),
    (b"OggS", "a recording", "give the table that has its transcript"),
    (b"ID3\x02", "a recording", "give the table that has its transcript"),
    (b"ID3\x03", "a recording", "give the table that has its transcript"),
    (b"ID3\x04", "a recording", "give the table that has its transcript"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself", "fetch it, as with git lfs pull"),
    (b"<!DOCTYPE", "a web page, not the file behind it", "download it again, logged in where that is needed"),
    (b"<html", "a web page, not the file behind it", "download it again, logged in where that is needed"),
)

_EXTENSION_KINDS = {
    ".stm": "NIST's stm: its columns are not read",
    ".ctm": "NIST's ctm, which has times of words but no utterances",
    ".rttm": "RTTM, which says who speaks when, but not what",
    ".textgrid": "Praat's TextGrid",
    ".eaf": "ELAN's eaf",
    ".srt": "subtitles (srt)",
    ".vtt": "subtitles (vtt)",
    ".trn": "NIST's trn, which has transcripts but no recordings",
    ".mlf": "HTK's mlf",
    ".lab": "a file of labels",
    ".yaml": "YAML",
    ".yml": "YAML",
    ".xml": "XML",
}

_STM = re.compile(r"\S+ +\S+ +\S+ +\d+(\.\d*)? +\d+(\.\d*)? +(<\S*> +)?\S")

_CTM = re.compile(r"\S+ +\S+ +\d+(\.\d*)? +\d+(\.\d*)? +\S+( +\d(\.\d*)?)?\s*")

_RTTM = re.compile(r"(SPEAKER|SPKR-INFO|LEXEME) +\S+ +\d+ ")

_AS_TABLE = "make a CSV of it with the columns filename and text, for segments offset and duration (s), too"


def refuse_binary(path: str, beginning: bytes) -> None:
    """Raises CliError for a file of a kind that is no text, which its first bytes show."""
    for magic, kind, cure in _BINARY_KINDS:
        if beginning.startswith(magic):
            raise CliError(f"{path}: is {kind}: {cure}")
    if b"\0" in beginning:
        raise CliError(f"{path}: is not UTF-8 text: give a table of recordings and transcripts, or a folder")


def refuse_text(path: str, first_line: str) -> None:
    """Raises CliError for a text in a known format that is not read, by the file's name or its first line."""
    extension = os.path.splitext(path.removesuffix(".gz"))[1].lower()
    kind = _EXTENSION_KINDS.get(extension) or _kind_of_line(first_line)
    if kind:
        raise CliError(f"{path}: is {kind}: {_AS_TABLE}")
    if "\r" in first_line.rstrip("\r\n"):
        cure = "convert them, as with tr '\\r' '\\n' < FILE > NEW"
        raise CliError(f"{path}: its lines end in CR alone, as in old files of Macs: {cure}")
    _refuse_json(path, first_line.strip())


def refuse_table_without_columns(path: str, first_line: str) -> None:
    """Raises CliError for a first line that is no header, because nothing separates it into columns."""
    words = first_line.split()
    if os.path.basename(path) == "text" or (len(words) > 1 and _is_id(words[0])):
        cure = "give the folder that has its wav.scp, too"
        raise CliError(f"{path}: looks like Kaldi's text, an id and a transcript a line, without recordings: {cure}")
    if len(words) == 1 and os.path.splitext(words[0])[1]:
        cure = f"{_AS_TABLE}"
        raise CliError(f"{path}: looks like a list of files without transcripts: {cure}")


def _is_id(word: str) -> bool:
    """Whether a word has a digit and no sign that a sentence would begin with: an utterance's name."""
    return re.fullmatch(r"[\w.-]*\d[\w.-]*", word) is not None


def _kind_of_line(line: str) -> str:
    """Returns what a file is that begins with this line; an empty string where it may be a table."""
    if _RTTM.match(line):
        return _EXTENSION_KINDS[".rttm"]
    if line.startswith(";;") or _STM.match(line):
        return _EXTENSION_KINDS[".stm"]
    return _EXTENSION_KINDS[".ctm"] if _CTM.fullmatch(line) else ""


def _refuse_json(path: str, first_line: str) -> None:
    """Raises CliError for JSON that is not an object a line."""
    if first_line.startswith("["):
        cure = f"write an object a line, as with jq -c '.[]' {path} > NEW.jsonl"
        raise CliError(f"{path}: is a JSON array: {cure}")
    if not first_line.startswith("{"):
        return
    try:
        whole, is_one_object = json.loads(first_line), False
    except (ValueError, RecursionError):
        whole, is_one_object = _whole_json(path), True
    if whole is None:
        return  # the reader names the line
    if whole and all(isinstance(value, dict) for value in whole.values()):
        command = "jq -c 'to_entries[] | {id: .key} + .value'"
        raise CliError(
            f"{path}: is one JSON object for all rows: write one a line, as with {command} {path} > NEW.jsonl"
        )
    lists = [name for name, value in whole.items() if isinstance(value, list) and value and isinstance(value[0], dict)]
    if is_one_object and lists:
        raise CliError(
            f"{path}: is one JSON object: write one a line, as with jq -c '.{lists[0]}[]' {path} > NEW.jsonl"
        )
    if is_one_object:
        raise CliError(f"{path}: is JSON over several lines: write a row a line, as with jq -c . {path} > NEW.jsonl")


def _whole_json(path: str) -> dict[str, Any] | None:
    """Returns the object, or the first of several, with which a file of many lines begins; None where it has none."""
    content = "".join(islice(read_lines(path), MAX_JSON_LINES)).lstrip()
    try:
        value, _ = json.JSONDecoder().raw_decode(content)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
