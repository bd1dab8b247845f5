"""Where the recording of a row lies, and opening it."""

import io
import os
import posixpath
from functools import lru_cache

from asrscale.common.errors import AudioError, DataError
from asrscale.common.storage import Range, is_remote, read_bytes, read_ranges
from asrscale.corpus.rows import Row

# What a row may fetch by itself; file:// or a chain of protocols would lead around the audio root.
ROW_PROTOCOLS = ("s3://", "gs://", "http://", "https://")


_OUTSIDE = "path outside the audio root: move the recording below it, or give another --audio_root"


def audio_path(row: Row, audio_root: str) -> str:
    """Returns the path or URL of a row's recording.

    Raises:
        AudioError: The path leads out of `audio_root`, also through a symbolic link.
    """
    if row.audio.startswith(ROW_PROTOCOLS):
        return row.audio
    if is_remote(audio_root):
        return _url_below(audio_root, row.audio)
    return _path_below(audio_root, row.audio)


def _url_below(root: str, name: str) -> str:
    """Returns the URL of `name` below the URL `root`; raises AudioError where `..` or a leading slash leads out."""
    protocol, _, root_path = root.rstrip("/").partition("://")
    path = posixpath.normpath(posixpath.join(root_path, name))
    if not path.startswith(f"{root_path}/"):
        raise AudioError(_OUTSIDE)
    return f"{protocol}://{path}"


def _path_below(root: str, name: str) -> str:
    """Returns the absolute path of `name` below the folder `root`; raises AudioError where it lies elsewhere."""
    path = os.path.abspath(os.path.join(root, name))
    if "\0" in path:  # no file has it in its name, and the calls below raise ValueError
        raise AudioError(_OUTSIDE)
    # A file that is no link lies where its folder does, so one answer serves a whole folder.
    checked = path if os.path.islink(path) else os.path.dirname(path)
    if not _is_below(checked, root):
        raise AudioError(_OUTSIDE)
    return path


@lru_cache  # a folder has many recordings, and `realpath` looks up every folder above each time
def _is_below(path: str, root: str) -> bool:
    """Whether `path`, its symbolic links followed, is `root` or lies below it."""
    real_root = os.path.realpath(root)
    return os.path.commonpath((real_root, os.path.realpath(path))) == real_root


def open_audio(row: Row, audio_root: str) -> str | io.BytesIO:
    """Returns what `speech.decoding.decode` takes: a local file's path, or the bytes from a tar or URL.

    Raises:
        AudioError: `category: detail`; the recording is missing, outside the root, or cannot be fetched.
        DataError: The tar is gone since it was listed.
    """
    if row.tar:
        return _read_from_tar(Range(row.tar, row.tar_offset, row.tar_size))
    path = audio_path(row, audio_root)
    if is_remote(path):
        return _fetch(path)
    if not os.path.isfile(path):
        raise AudioError("missing file: not below the audio root")
    return path


def _read_from_tar(place: Range) -> io.BytesIO:
    """Returns the bytes of a tar's member."""
    [data] = read_ranges([place])
    if isinstance(data, Exception):
        raise AudioError(f"unreadable: {place.path}: {data}")
    return io.BytesIO(data)


def _fetch(url: str) -> io.BytesIO:
    """Returns the bytes behind a URL."""
    try:
        return io.BytesIO(read_bytes(url))
    except (OSError, DataError) as error:
        raise AudioError(f"missing file: {error}") from error
