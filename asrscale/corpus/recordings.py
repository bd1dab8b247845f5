"""Rows to recordings: where the audio of a row lies, and opening it."""

import io
import os
import posixpath
from functools import lru_cache

from asrscale.common.errors import AudioError, DataError
from asrscale.common.storage import Range, is_remote, read_bytes, read_ranges
from asrscale.corpus.rows import Row

# What a row may fetch by itself; file:// or a chain of protocols would lead around the audio root.
ROW_PROTOCOLS = ("s3://", "gs://", "http://", "https://")


def audio_path(row: Row, audio_root: str) -> str:
    """Where the row's recording lies: a path, or a URL; raises AudioError for one that leaves `audio_root`."""
    if row.audio.startswith(ROW_PROTOCOLS):
        return row.audio
    if is_remote(audio_root):
        protocol, _, root = audio_root.rstrip("/").partition("://")
        path = posixpath.normpath(posixpath.join(root, row.audio))
        path, inside = f"{protocol}://{path}", path.startswith(f"{root}/")
    else:
        path = os.path.abspath(os.path.join(audio_root, row.audio))
        inside = "\0" not in path and _is_below(path if os.path.islink(path) else os.path.dirname(path), audio_root)
    if not inside:
        raise AudioError("path outside the audio root: move the recording below it, or give another --audio_root")
    return path


@lru_cache  # a folder has many recordings, and `realpath` asks for every folder above each time
def _is_below(path: str, root: str) -> bool:
    """Whether `path`, its symbolic links followed, is `root` or lies below it."""
    real = os.path.realpath(root)
    return os.path.commonpath((real, os.path.realpath(path))) == real


def open_audio(row: Row, audio_root: str) -> str | io.BytesIO:
    """What `audio.decode` takes for the row: the path of a local file, the content of one in a tar or behind a URL.

    Raises:
        AudioError: `category: detail`; it is missing, outside the root, or cannot be fetched.
        DataError: The tar is gone since it was listed.
    """
    if row.tar:
        [data] = read_ranges([Range(row.tar, row.tar_offset, row.tar_size)])
        if isinstance(data, Exception):
            raise AudioError(f"unreadable: {row.tar}: {data}")
        return io.BytesIO(data)
    path = audio_path(row, audio_root)
    if not is_remote(path):
        if not os.path.isfile(path):
            raise AudioError("missing file: not below the audio root")
        return path
    try:
        return io.BytesIO(read_bytes(path))
    except (OSError, DataError) as error:
        raise AudioError(f"missing file: {error}") from error
