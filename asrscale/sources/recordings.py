"""Where the recording of a row lies, and opening it."""

import os
import posixpath
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

from asrscale.common.addresses import HOW_TO_WRITE, can_be_cleaned
from asrscale.common.errors import AudioError, DataError
from asrscale.common.storage import Range, is_remote, read_bytes, read_ranges
from asrscale.sources.rows import Row
from asrscale.speech.blocks import NamedBytes
from asrscale.speech.decoding import AUDIO_EXTENSIONS

# The folder or URL that recordings' paths start from; several are searched in their order. Only what lies below one of
# them is opened.
AudioRoot: TypeAlias = str | tuple[str, ...]

# What a row may fetch by itself; file:// or a chain of protocols would lead around the audio root.
ROW_PROTOCOLS = ("s3://", "gs://", "http://", "https://")


_OUTSIDE = "path outside the audio root: move the recording below it, or name its folder with --audio_root, too"


_ELSEWHERE = "address outside the audio root: name its place with --audio_root, too, if it is to be fetched from"


def roots_of(audio_root: AudioRoot) -> tuple[str, ...]:
    """Returns the roots, also where it is a single one."""
    return (audio_root,) if isinstance(audio_root, str) else audio_root


def audio_path(row: Row, audio_root: AudioRoot) -> str:
    """Returns the path or URL of a row's recording, or where the first root would have it if there is none.

    A file that is not found by the name as it is written is looked for by the same name with Windows's separators
    replaced, in the other Unicode forms (macOS stores é as two characters), or with an extension added.

    Raises:
        AudioError: The path leads out of every `audio_root`, also through a symbolic link, or is that of several files.
    """
    if row.audio.startswith(ROW_PROTOCOLS):
        if not can_be_cleaned(row.audio):
            raise AudioError(f"address: user and password cannot be told from the rest of it: {HOW_TO_WRITE}")
        if not may_fetch(row, audio_root):
            raise AudioError(_ELSEWHERE)
        return row.audio
    roots = roots_of(audio_root)
    found = _local_files(row.audio, roots)
    if len(found) > 1:
        names = ", ".join(os.path.basename(path) for path in found)
        raise AudioError(f"ambiguous name: {names} are there: write the extension")
    if found:
        return found[0]
    remote_root = next((root for root in roots if is_remote(root)), None)
    if remote_root:
        return _url_below(remote_root, row.audio.replace("\\", "/"))
    paths = [_path_below(row.audio.replace("\\", "/"), root, roots) for root in roots]
    if None in paths:
        raise AudioError(_OUTSIDE)
    return str(paths[0])


def may_fetch(row: Row, audio_root: AudioRoot) -> bool:
    """Whether the address of a row's recording is below an audio root, or beside a remote manifest.

    Others would have this machine ask servers that only it can reach, or use the user's own keys, for whoever wrote the
    manifest.
    """
    places = [root for root in roots_of(audio_root) if is_remote(root)]
    if is_remote(row.source):
        places.append(row.source.partition("?")[0].rpartition("/")[0])
    return any(_is_url_below(row.audio, place) for place in places)


def _is_url_below(url: str, place: str) -> bool:
    """Whether an address is that of something below another one, on the same server."""
    try:
        wanted, allowed = urlsplit(url), urlsplit(place)
        is_same_server = (wanted.scheme, wanted.hostname, wanted.port) == (
            allowed.scheme,
            allowed.hostname,
            allowed.port,
        )
    except ValueError:  # no port
        return False
    folder = posixpath.normpath(f"/{unquote(allowed.path)}").strip("/")
    path = posixpath.normpath(f"/{unquote(wanted.path)}").strip("/")
    is_below = path.startswith(f"{folder}/") if folder else bool(path)
    return is_same_server and is_below and "\\" not in url


def _url_below(root: str, name: str) -> str:
    """Returns the URL of `name` below the URL `root`; raises AudioError where `..` or a leading slash leads out."""
    protocol, _, root_path = root.rstrip("/").partition("://")
    path = posixpath.normpath(posixpath.join(root_path, name))
    if not path.startswith(f"{root_path}/"):
        raise AudioError(_OUTSIDE)
    return f"{protocol}://{path}"


def _local_files(name: str, roots: tuple[str, ...]) -> list[str]:
    """Returns the file of a name, or all files that a name without extension may mean."""
    local_roots = [root for root in roots if not is_remote(root)]
    for spelling in _spellings(name):
        path = _first_file([spelling], local_roots, roots)
        if path:
            return [path]
    if os.path.splitext(name)[1].lower().removeprefix(".") in AUDIO_EXTENSIONS:
        return []
    found = (
        _first_file([f"{spelling}{extension}" for spelling in _spellings(name)], local_roots, roots)
        for extension in _extensions_beside(name, local_roots, roots)
    )
    return [path for path in found if path]


def _extensions_beside(name: str, local_roots: list[str], roots: tuple[str, ...]) -> list[str]:
    """Returns the extensions of the recordings that lie in the folders in which the file `name` may lie."""
    extensions: dict[str, None] = {}
    for spelling in _spellings(name):
        for root in local_roots:
            path = _path_below(spelling, root, roots)
            if path:
                extensions |= dict.fromkeys(_extensions_in_folder(os.path.dirname(path)))
    return sorted(extensions)


def _extensions_in_folder(folder: str) -> tuple[str, ...]:
    """Returns the extensions of the recordings in a folder, as they are written; none where there is no such folder."""
    try:
        return _list_extensions(folder, os.stat(folder).st_mtime_ns)
    except OSError:
        return ()


@lru_cache(maxsize=65_536)  # to look for each known extension beside each name would take 60 requests to a file server
def _list_extensions(folder: str, _changed_ns: int) -> tuple[str, ...]:
    """Returns the extensions of the recordings in a folder, which is listed once as long as it does not change."""
    with os.scandir(folder) as entries:
        extensions = {os.path.splitext(entry.name)[1] for entry in entries}
    return tuple(extension for extension in extensions if extension.lower().removeprefix(".") in AUDIO_EXTENSIONS)


def _first_file(names: list[str], local_roots: list[str], roots: tuple[str, ...]) -> str | None:
    """Returns the path of the first file that is there by one of the names and may be opened."""
    for name in names:
        for root in local_roots:
            path = _path_below(name, root, roots)
            if path and os.path.isfile(path):
                return path
    return None


def _spellings(name: str) -> Iterator[str]:
    """Yields the ways to write the same path, each once: first as it is."""
    yield name
    portable = name.replace("\\", "/")
    forms = [portable, unicodedata.normalize("NFC", portable), unicodedata.normalize("NFD", portable)]
    yield from dict.fromkeys(form for form in forms if form != name)


def _path_below(name: str, root: str, roots: tuple[str, ...]) -> str | None:
    """Returns the absolute path of `name` seen from the folder `root`; None where it lies below none of `roots`."""
    path = os.path.abspath(os.path.join(root, name))
    if "\0" in path:  # no file has it in its name, and the calls below raise ValueError
        return None
    # A file that is no link lies where its folder does, so one answer serves a whole folder.
    checked = path if os.path.islink(path) else os.path.dirname(path)
    return path if any(_is_below(checked, allowed) for allowed in roots if not is_remote(allowed)) else None


@lru_cache  # a folder has many recordings, and `realpath` looks up every folder above each time
def _is_below(path: str, root: str) -> bool:
    """Whether `path`, its symbolic links followed, is `root` or lies below it."""
    real_root = os.path.realpath(root)
    return os.path.commonpath((real_root, os.path.realpath(path))) == real_root


def recording_file(row: Row, audio_root: AudioRoot) -> str | None:
    """Returns the file or URL that holds a row's recording, or None where there may be none; it need not exist."""
    try:
        return row.tar or audio_path(row, audio_root)
    except AudioError:
        return None


def local_recording(row: Row, audio_root: AudioRoot) -> str | None:
    """Returns the file that is a row's recording; None where it lies in a tar or behind a URL.

    Raises:
        AudioError: `category: detail`; the recording is missing, or outside the roots.
    """
    if row.tar:
        return None
    path = audio_path(row, audio_root)
    if is_remote(path):
        return None
    if not os.path.isfile(path):
        raise AudioError("missing file: not below the audio root")
    return path


def open_audio(row: Row, audio_root: AudioRoot) -> str | NamedBytes:
    """Returns what `speech.decoding.decode` takes: a local file's path, or the bytes from a tar or URL.

    Raises:
        AudioError: `category: detail`; the recording is missing, outside the roots, or cannot be fetched.
        DataError: The tar is gone since it was listed.
    """
    if row.tar:
        return _read_from_tar(Range(row.tar, row.tar_offset, row.tar_size), row.audio)
    return local_recording(row, audio_root) or _fetch(audio_path(row, audio_root))


def _read_from_tar(place: Range, name: str) -> NamedBytes:
    """Returns the bytes of a tar's member with this name."""
    [data] = read_ranges([place])
    if isinstance(data, Exception):
        raise AudioError(f"unreadable: {place.path}: {data}")
    return NamedBytes(data, name)


def _fetch(url: str) -> NamedBytes:
    """Returns the bytes behind a URL."""
    try:
        return NamedBytes(read_bytes(url, stays=True), urlsplit(url).path)
    except (OSError, DataError) as error:
        raise AudioError(f"missing file: {error}") from error
