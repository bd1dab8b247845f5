"""Opens a source: its rows, and the folder that their recordings lie below."""

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from asrscale.common.errors import CliError
from asrscale.common.storage import is_remote
from asrscale.corpus.rows import Row
from asrscale.corpus.source_formats import Source, recognise_source


def open_source(path: str, audio_root: str | None = None) -> Source:
    """Returns a corpus of any format that `source_formats` recognises.

    Where a manifest moved together with its recordings, leading folders are removed from the rows' paths: as few as it
    takes to find the first recording, and only where no `audio_root` is given.

    Args:
        path: A file or a folder; a remote corpus must be a single file.
        audio_root: The folder or URL that the recordings' paths start from, by default that of the format.

    Raises:
        CliError: The source is missing, empty or of no such format, or its first row is damaged; names file and line.
    """
    source = recognise_source(path)
    first_row = next(source.read_rows(), None)
    if first_row is None:
        raise CliError(f"{path}: has a header but no rows: add one row a recording")
    if audio_root:
        return replace(source, audio_root=audio_root)

    default_root = source.audio_root or "."
    is_in_place = first_row.tar is not None or is_remote(default_root)
    prefix = "" if is_in_place else _prefix_of_moved_paths(path, first_row.audio, default_root)
    if not prefix:
        return replace(source, audio_root=default_root)
    return Source(partial(_read_moved_rows, source, prefix), default_root)


def _prefix_of_moved_paths(source: str, audio: str, root: str) -> str:
    """Returns the leading folders without which `audio`, the path of the first recording, is found below `root`.

    Empty where the path is right as it is, or where removing folders does not help. Prints what is removed.
    """
    if os.path.exists(os.path.join(root, audio)):
        return ""
    folder_ends = [slashes.end() for slashes in re.finditer("/+", audio)]
    # Never the recording's own folder: Common Voice v1 has the same file names in every split.
    for end in folder_ends[:-1]:
        if os.path.exists(os.path.join(root, audio[end:])):
            prefix = audio[:end]
            print(f"{source}: no {prefix} here, so it is removed from the paths of recordings", file=sys.stderr)
            return prefix
    return ""


def _read_moved_rows(source: Source, prefix: str) -> Iterator[Row]:
    """Reads a source's rows, their paths without the leading folders `prefix`."""
    for row in source.read_rows():
        yield replace(row, audio=row.audio.removeprefix(prefix))
