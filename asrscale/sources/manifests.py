"""Readers of files with one transcript a line, one function a format: JSON lines, LibriSpeech's *.trans.txt."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import count
from typing import Any

from asrscale.common.storage import Range, is_remote
from asrscale.common.system_files import is_system_file
from asrscale.data.tars import json_members, tar_members
from asrscale.sources.line_errors import LineError, refuse_all_mistakes
from asrscale.sources.lines import read_lines
from asrscale.sources.rows import (
    AUDIO_COLUMNS,
    TEXT_COLUMNS,
    ColumnNames,
    Row,
    columns_of_json,
    first_present,
    row_of_columns,
)
from asrscale.sources.tar_samples import row_in_tar
from asrscale.speech.decoding import AUDIO_EXTENSIONS

SHARDED_MANIFESTS = "sharded_manifests"  # where NeMo has a manifest for each tar

_SHARDED_MANIFEST = re.compile(r"manifest_(\d+)\.json")

# NeMo lists a recording again, with -sub1, -sub2 … before the extension, for each further segment of it.
_SEGMENT_SUFFIX = re.compile(r"-sub\d+(?=\.\w+$)")


def read_json_lines(path: str, names: ColumnNames) -> Iterator[Row]:
    """Reads a manifest as NeMo's: a line is an object with `audio_filepath`, `text`, and maybe `duration`, `offset`.

    A `shard_id` N names the tar audio_N.tar beside the manifest, which holds the recording. `names` are the
    members that the user names.
    """
    lines = ((line, content) for line, content in enumerate(read_lines(path), start=1) if content.strip())
    rows = (_row_of_json(path, line, content, names) for line, content in lines)
    members_by_shard: dict[str, dict[str, Range]] = {}
    for row in refuse_all_mistakes(rows):
        shard = row.extra.get("shard_id", "")
        if not shard.isdigit():
            yield row
            continue
        if shard not in members_by_shard:
            members_by_shard[shard] = dict(tar_members(_tar_of_shard(path, shard)))
        yield _found_in_tar(row, members_by_shard[shard])


def _tar_of_shard(path: str, shard: str) -> str:
    """Returns the tar of a shard: beside the manifest; beside its folder, where that is NeMo's `sharded_manifests`."""
    folder = os.path.dirname(path)
    if os.path.basename(os.path.abspath(folder)) == SHARDED_MANIFESTS:
        folder = os.path.dirname(folder) if folder else os.pardir
    return os.path.join(folder, f"audio_{shard}.tar")


def read_sharded_manifests(folder: str, names: ColumnNames) -> Iterator[Row]:
    """Reads NeMo's manifests of single tars, manifest_0.json and so on, as one."""
    numbers = count(1)
    files = [(int(match[1]), match[0]) for match in map(_SHARDED_MANIFEST.fullmatch, os.listdir(folder)) if match]
    for _, name in sorted(files):
        for row in read_json_lines(os.path.join(folder, name), names):
            yield replace(row, line=next(numbers))


def has_sharded_manifests(names: Iterable[str]) -> bool:
    """Whether file names are those of manifests of single tars."""
    return any(_SHARDED_MANIFEST.fullmatch(name) for name in names)


def _row_of_json(path: str, line: int, content: str, names: ColumnNames) -> Row | LineError:
    """Returns the row of a manifest's line, or its mistake."""
    try:
        needed = tuple(
            (given,) if given else known for given, known in ((names.audio, AUDIO_COLUMNS), (names.text, TEXT_COLUMNS))
        )
        members = _with_path(json_members(content), needed[0])
        return row_of_columns(line, path, columns_of_json(line, path, members, needed), names)
    except LineError as error:
        return error
    except ValueError as error:
        return LineError(path, line, str(error), "correct it")


def _with_path(members: dict[str, Any], audio_columns: tuple[str, ...]) -> dict[str, Any]:
    """Returns an object's members; a recording that is an object with a path, as of `datasets`, is that path."""
    column = first_present(audio_columns, members)
    recording = members.get(column)
    return members | {column: recording["path"]} if isinstance(recording, dict) and "path" in recording else members


def _found_in_tar(row: Row, members: Mapping[str, Range]) -> Row:
    """Returns the row with its recording's place among a tar's members, or unchanged where they lack it."""
    recording = _SEGMENT_SUFFIX.sub("", row.audio)
    place = members.get(row.audio) or members.get(recording)
    return row_in_tar(row, place) if place else row


def read_librispeech(paths: list[str], root: str) -> Iterator[Row]:
    """Reads LibriSpeech's *.trans.txt: `speaker-chapter-number TEXT` a line, the recording beside it as .flac.

    A recording that was converted has another extension. One that no transcript in its folder names is a row, too, and
    says so in `unusable`.

    Args:
        paths: The files, whose rows are numbered as those of one.
        root: The folder that the rows' recordings are named from.
    """
    numbers = count(1)
    last_of_folder = {os.path.dirname(path): path for path in paths}
    recordings_by_folder: dict[str, dict[str, str]] = {}
    named: defaultdict[str, set[str]] = defaultdict(set)  # the names that transcripts have, by folder
    for path in paths:
        folder = os.path.dirname(path)
        if folder not in recordings_by_folder:
            recordings_by_folder[folder] = _recordings_in(folder)
        recordings = recordings_by_folder[folder]
        for line in read_lines(path):
            if line.strip():
                name, _, text = line.strip().partition(" ")
                named[folder].add(name)
                yield _row_of_librispeech(next(numbers), path, recordings.get(name, f"{name}.flac"), root, text)

        if path == last_of_folder[folder]:
            without_line = recordings_by_folder.pop(folder).keys() - named.pop(folder, set())
            for name in sorted(without_line):
                row = _row_of_librispeech(next(numbers), path, recordings[name], root, "")
                yield replace(row, unusable="no transcript: no *.trans.txt beside the recording names it")


def _recordings_in(folder: str) -> dict[str, str]:
    """Returns the recordings in a local folder: their file names by these without extension, FLAC before others."""
    if is_remote(folder) or not os.path.isdir(folder or "."):
        return {}
    files = sorted(file for file in os.listdir(folder or ".") if not is_system_file(file))
    recordings: dict[str, str] = {}
    for file in files:
        name, extension = os.path.splitext(file)
        kind = extension.lower().removeprefix(".")
        if kind == "flac" or (kind in AUDIO_EXTENSIONS and name not in recordings):
            recordings[name] = file
    return recordings


def _row_of_librispeech(number: int, path: str, file: str, root: str, text: str) -> Row:
    """Returns the row of a recording.

    Args:
        number: The row's.
        path: The transcripts' file.
        file: The recording's name, beside it.
        root: The folder that the recording is named from.
        text: The transcript.
    """
    recording = os.path.join(os.path.dirname(path), file)
    speaker, _, _ = os.path.splitext(file)[0].partition("-")
    audio = os.path.relpath(recording, root or ".")
    return Row(line=number, source=path, audio=audio, text=text, extra={"speaker": speaker})
