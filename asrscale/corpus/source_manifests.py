"""Readers of files with one transcript a line, one function a format: JSON lines, LibriSpeech's *.trans.txt."""

import os
import re
from collections.abc import Iterator, Mapping

from asrscale.common.storage import Range
from asrscale.corpus.rows import Row, row_of_columns
from asrscale.corpus.source_lines import read_lines
from asrscale.corpus.source_tars import row_in_tar
from asrscale.data.tars import json_object, tar_members

# NeMo lists a recording again, with -sub1, -sub2 … before the extension, for each further segment of it.
_SEGMENT_SUFFIX = re.compile(r"-sub\d+(?=\.\w+$)")


def read_json_lines(path: str) -> Iterator[Row]:
    """Reads a manifest as NeMo's: a line is an object with `audio_filepath`, `text`, and maybe `duration`, `offset`.

    A `shard_id` N names the tar audio_N.tar beside the manifest, which holds the recording.
    """
    members_by_shard: dict[str, dict[str, Range]] = {}
    for line, content in enumerate(read_lines(path), start=1):
        if not content.strip():
            continue
        row = row_of_columns(line, path, json_object(content, f"{path} line {line}"))
        shard = row.extra.get("shard_id", "")
        if shard.isdigit():
            if shard not in members_by_shard:
                tar = os.path.join(os.path.dirname(path), f"audio_{shard}.tar")
                members_by_shard[shard] = dict(tar_members(tar))
            row = _found_in_tar(row, members_by_shard[shard])
        yield row


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
