"""One reader for each source format: CSV, TSV, JSON lines, LJSpeech, LibriSpeech, WebDataset tars."""

import csv
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Literal

from asrscale.common.errors import CliError
from asrscale.common.storage import Range, open_binary
from asrscale.corpus.rows import AUDIO_COLUMNS, TEXT_COLUMNS, Row, first_present, row_of_columns
from asrscale.data.tars import MAX_MEMBER_BYTES, json_object, read_text_member, tar_members

AUDIO_EXTENSIONS = ("flac", "wav", "mp3", "ogg", "opus", "aiff", "aif", "au", "caf", "w64")  # in tars


def read_table_or_manifest(path: str, folder: str) -> tuple[Iterator[Row], str]:
    """The rows of a table or manifest in `folder`, and its audio root."""
    header = next((line for line in _lines(path) if line.strip()), "")
    if header.lstrip().startswith("{"):
        return _read_json_lines(path), folder
    if "|" in header:
        return _read_ljspeech(path), os.path.join(folder, "wavs")
    rows = _read_table(path, "\t" if "\t" in header else ",")
    return rows, os.path.join(folder, "clips") if "client_id" in header.split("\t") else folder


def _read_table(path: str, delimiter: str) -> Iterator[Row]:
    """A CSV or TSV with a header, whose columns without a name are ignored: Common Voice v1's test CSV ends in some."""
    records = _read_records(path, delimiter)
    _, header = next(records, (1, []))
    names = [name.strip() for name in header]
    named = max((position for position, name in enumerate(names, start=1) if name), default=0)
    for candidates in (AUDIO_COLUMNS, TEXT_COLUMNS):
        if names.count(first_present(candidates, names) or candidates[0]) != 1:
            needed = f"needs one column '{candidates[0]}', the header has {', '.join(names[:named]) or 'nothing'}"
            raise CliError(f"{path} line 1: {needed}: name the columns so ({' or '.join(candidates[1:])} will do, too)")
    for line, fields in records:  # strict: a text with a comma but no quotes would lose its end without a word
        if not named <= len(fields) <= len(names) or any(fields[named:]):
            cure = "complete the row, and put quotes around a text that holds a comma"
            raise CliError(f"{path} line {line}: {len(fields)} fields where the header has {named}: {cure}")
        yield row_of_columns(line, path, dict(zip(names, fields, strict=False)))


def _read_json_lines(path: str) -> Iterator[Row]:
    """A manifest: an object a line with `audio_filepath`, `text`, and maybe `duration`, `offset` and `shard_id`."""
    members: dict[str, dict[str, Range]] = {}  # of the tars beside it, by the number in their names
    for line, content in enumerate(_lines(path), start=1):
        if not content.strip():
            continue
        row = row_of_columns(line, path, json_object(content, f"{path} line {line}"))
        if (shard := row.extra.get("shard_id", "")).isdigit():
            if shard not in members:
                members[shard] = dict(tar_members(os.path.join(os.path.dirname(path), f"audio_{shard}.tar")))
            # NeMo lists a recording again, as -sub1, for its every further segment.
            name = re.sub(r"-sub\d+(?=\.\w+$)", "", row.audio)
            if place := members[shard].get(row.audio) or members[shard].get(name):
                row = _in_tar(row, place)
        yield row


def _read_ljspeech(path: str) -> Iterator[Row]:
    """LJSpeech's metadata.csv: `id|text|normalised text`, the recording in wavs/id.wav."""
    for line, fields in _read_records(path, "|"):
        if len(fields) not in (2, 3):
            raise CliError(f"{path} line {line}: {len(fields)} fields between bars: give id|text|normalised text")
        yield Row(line, path, f"{fields[0]}.wav", fields[-1].strip() or fields[1], {})


def read_librispeech(paths: list[str], root: str) -> Iterator[Row]:
    """LibriSpeech's *.trans.txt: `speaker-chapter-number TEXT` a line, the recording beside it as .flac."""
    lines = ((path, line) for path in paths for line in _lines(path) if line.strip())
    for number, (path, line) in enumerate(lines, start=1):
        name, _, text = line.strip().partition(" ")
        audio = os.path.relpath(os.path.join(os.path.dirname(path), f"{name}.flac"), root or ".")
        yield Row(number, path, audio, text, {"speaker": name.partition("-")[0]})


def read_tars(paths: list[str]) -> Iterator[Row]:
    """WebDataset tars: KEY.flac or another AUDIO_EXTENSIONS, its transcript in KEY.txt or the `text` of KEY.json."""
    numbers = count(1)
    for path in paths:
        places: dict[str, Range] = {}
        records: dict[str, dict[str, str]] = {}
        for name, place in tar_members(path):
            dot = name.find(".", name.rfind("/") + 1)  # a key ends at the first dot of the last part
            key, extension = name[:dot], name[dot + 1 :]
            record = records.setdefault(key, {"text": ""})
            if extension in AUDIO_EXTENSIONS:
                if key in places:
                    raise CliError(f"{path}: {name} is the second recording with the key {key}: rename it")
                places[key], record["filename"] = place, name
            elif extension in ("txt", "json") and place.size <= MAX_MEMBER_BYTES:
                content = read_text_member(place, name)
                record |= {"text": content} if extension == "txt" else json_object(content, f"{path} {name}")
        for key, place in places.items():
            yield _in_tar(row_of_columns(next(numbers), path, records[key]), place)


def _in_tar(row: Row, place: Range) -> Row:
    return replace(row, tar=place.path, tar_offset=place.start, tar_size=place.size)


def _lines(path: str) -> Iterator[str]:
    """The lines of a text file with their ends."""
    number = 1
    try:
        with open_binary(path) as file:
            for number, line in enumerate(file, start=1):
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
    except OSError as error:
        raise CliError(f"{path}: {error.strerror or error}: give the path of a CSV file or another corpus") from error
    except UnicodeDecodeError as error:
        raise CliError(f"{path} line {number}: not UTF-8: convert the file, as with iconv -t UTF-8") from error


def _read_records(path: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The records that are not blank, each with the line it starts on; only commas come with quotes."""
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
    # strict: a quote left open must not eat the rest
    reader = csv.reader(_lines(path), delimiter=delimiter, quoting=quoting, strict=True)
    line = 1
    try:
        for fields in reader:
            if fields:
                yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise CliError(f"{path} line {line}: {error}: correct the quotes") from error
