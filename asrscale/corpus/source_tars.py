"""Readers of tars that hold recordings and transcripts."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

from asrscale.common.errors import CliError
from asrscale.common.storage import Range
from asrscale.corpus.rows import Row, row_of_columns
from asrscale.data.tars import MAX_MEMBER_BYTES, json_object, read_text_member, tar_members

AUDIO_EXTENSIONS = ("flac", "wav", "mp3", "ogg", "opus", "aiff", "aif", "au", "caf", "w64")


def read_tars(paths: list[str]) -> Iterator[Row]:
    """Reads WebDataset tars: a recording KEY.flac (or another of AUDIO_EXTENSIONS) with KEY.txt or KEY.json.

    The transcript is KEY.txt or the `text` of KEY.json, whose other members are columns of the row; without either the
    transcript is empty. The rows of all tars are numbered together.
    """
    numbers = count(1)
    for path in paths:
        for columns, place in _read_samples(path):
            row = row_of_columns(next(numbers), path, columns)
            yield row_in_tar(row, place)


def row_in_tar(row: Row, place: Range) -> Row:
    """Returns the row with the place of its recording in a tar."""
    return replace(row, tar=place.path, tar_offset=place.start, tar_size=place.size)


def _read_samples(path: str) -> Iterator[tuple[dict[str, str], Range]]:
    """Yields the columns of each recording and its place in the tar, in the order of the recordings."""
    recordings: dict[str, Range] = {}  # by key
    columns: defaultdict[str, dict[str, str]] = defaultdict(lambda: {"text": ""})  # by key
    for name, place in tar_members(path):
        key, extension = _split_member_name(name)
        is_small = place.size <= MAX_MEMBER_BYTES
        if extension in AUDIO_EXTENSIONS:
            if key in recordings:
                raise CliError(f"{path}: {name} is the second recording with the key {key}: rename it")
            recordings[key] = place
            columns[key]["filename"] = name
        elif extension == "txt" and is_small:
            columns[key]["text"] = read_text_member(place, name)
        elif extension == "json" and is_small:
            columns[key].update(json_object(read_text_member(place, name), f"{path} {name}"))

    for key, place in recordings.items():
        yield columns[key], place


def _split_member_name(name: str) -> tuple[str, str]:
    """Returns the key and extension of a member: WebDataset's key ends at the first dot after the last slash."""
    dot = name.find(".", name.rfind("/") + 1)
    return name[:dot], name[dot + 1 :]
