"""Readers of files with one transcript a line, one function a format: JSON lines, LibriSpeech's *.trans.txt."""

import os
import re
from collections.abc import Iterator, Mapping

from asrscale.common.storage import Range
from asrscale.corpus.line_errors import LineError, refuse_all_mistakes
from asrscale.corpus.rows import Row, columns_of_json, row_of_columns
from asrscale.corpus.source_lines import read_lines
from asrscale.corpus.source_tars import row_in_tar
from asrscale.data.tars import json_members, tar_members

# NeMo lists a recording again, with -sub1, -sub2 … before the extension, for each further segment of it.
_SEGMENT_SUFFIX = re.compile(r"-sub\d+(?=\.\w+$)")


def read_json_lines(path: str) -> Iterator[Row]:
    """Reads a manifest as NeMo's: a line is an object with `audio_filepath`, `text`, and maybe `duration`, `offset`.

    A `shard_id` N names the tar audio_N.tar beside the manifest, which holds the recording.
    """
    lines = ((line, content) for line, content in enumerate(read_lines(path), start=1) if content.strip())
    rows = (_row_of_json(path, line, content) for line, content in lines)
    members_by_shard: dict[str, dict[str, Range]] = {}
    for row in refuse_all_mistakes(rows):
        shard = row.extra.get("shard_id", "")
        if not shard.isdigit():
            yield row
            continue
        if shard not in members_by_shard:
            tar = os.path.join(os.path.dirname(path), f"audio_{shard}.tar")
            members_by_shard[shard] = dict(tar_members(tar))
        yield _found_in_tar(row, members_by_shard[shard])


def _row_of_json(path: str, line: int, content: str) -> Row | LineError:
    """Returns the row of a manifest's line, or its mistake."""
    try:
        members = json_members(content)
        return row_of_columns(line, path, columns_of_json(line, path, members))
    except LineError as error:
        return error
    except ValueError as error:
        return LineError(path, line, str(error), "correct it")


def _found_in_tar(row: Row, members: Mapping[str, Range]) -> Row:
    """Returns the row with its recording's place among a tar's members, or unchanged where they lack it."""
    recording = _SEGMENT_SUFFIX.sub("", row.audio)
    place = members.get(row.audio) or members.get(recording)
    return row_in_tar(row, place) if place else row


def read_librispeech(paths: list[str], root: str) -> Iterator[Row]:
    """Reads LibriSpeech's *.trans.txt: `speaker-chapter-number TEXT` a line, the recording beside it as .flac.

    Args:
        paths: The files, whose rows are numbered as those of one.
        root: The folder that the rows' recordings are named from.
    """
    number = 0
    for path in paths:
        for line in read_lines(path):
            if not line.strip():
                continue
            number += 1
            name, _, text = line.strip().partition(" ")
            recording = os.path.join(os.path.dirname(path), f"{name}.flac")
            speaker, _, _ = name.partition("-")
            yield Row(
                line=number,
                source=path,
                audio=os.path.relpath(recording, root or "."),
                text=text,
                extra={"speaker": speaker},
            )
