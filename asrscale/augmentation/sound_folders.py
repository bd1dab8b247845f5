"""Folders of noises and impulse responses: what is in them, checked before a run.

A folder holds recordings, at any depth, or is a data set folder, as asrscale.shard builds it. Nothing of it stays in
memory but names, and the index of a data set folder.
"""

import os
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path

import numpy as np

from asrscale.augmentation.effects import Effect
from asrscale.augmentation.sound_recordings import (
    MAX_SECONDS_FROM_START,
    Recordings,
    check_impulse_response,
    check_noise,
)
from asrscale.common.errors import AudioError, CliError
from asrscale.common.storage import Range, read_local
from asrscale.data.catalog import DATASET_FILE, read_catalog
from asrscale.data.content import hash_content
from asrscale.data.index import read_shards
from asrscale.speech.decoding import AUDIO_EXTENSIONS

# So many recordings, spread evenly over a folder, are opened before a run and looked at where they begin and end: some
# seconds of work. Of the others names and sizes are compared, and one that is damaged shows when it is needed.
MAX_CHECKED = 2_000
_CHECK_THREADS = 8
_COMPARED_BYTES = 1 << 16  # at the beginning, and at the end

_FINGERPRINT_BYTES = 8  # it tells a handful of folders apart, and is no protection against forgery


@dataclass(frozen=True)
class _Checked:
    """What was found out about a recording."""

    crc32: int  # of its beginning and its end
    problem: str = ""  # why it cannot be used; "" where it can
    is_cut: bool = False  # only its beginning is used


def open_folder(effect: Effect) -> Recordings:
    """Returns the recordings of an effect's folder, of which up to MAX_CHECKED are opened.

    Raises:
        CliError: There is no such folder, it holds no recording, or one of those that were opened cannot be used.
    """
    folder = effect.folder
    if not os.path.isdir(folder):
        what = "is no folder" if os.path.exists(folder) else "there is no such folder"
        raise CliError(f"{_flag(effect)}: {what}: give a folder of recordings, or of shards")
    if os.path.isfile(os.path.join(folder, DATASET_FILE)):
        return _open_dataset(folder)
    return _open_recordings(effect)


def _flag(effect: Effect) -> str:
    """Returns how messages name an effect with a folder."""
    return f"--augment {effect.kind}={effect.folder}"


def _open_dataset(folder: str) -> Recordings:
    """Returns the utterances of a data set folder; raises CliError where that is not whole."""
    catalog = read_catalog([folder])
    index = read_shards(catalog, range(len(catalog.shards)))
    return Recordings(folder=folder, paths=(), index=index, fingerprint=hash_content(catalog), notes=())


def _open_recordings(effect: Effect) -> Recordings:
    """Returns the recordings below a folder, with notes about what of them is not used."""
    folder = effect.folder
    files = sorted(_files_below(folder))
    paths = [path for path in files if path.lower().endswith(tuple(f".{ending}" for ending in AUDIO_EXTENSIONS))]
    if not paths:
        raise CliError(_nothing_found(effect, len(files)))

    chosen = np.unique(np.linspace(0, len(paths) - 1, MAX_CHECKED).astype(np.int64)).tolist()
    with ThreadPoolExecutor(_CHECK_THREADS) as pool:
        checked = list(pool.map(partial(_check, effect), [os.path.join(folder, paths[number]) for number in chosen]))
    problems = [f"{paths[number]}: {one.problem}" for number, one in zip(chosen, checked, strict=True) if one.problem]
    if problems:
        count = "one recording" if len(problems) == 1 else f"{len(problems):,} recordings"
        raise CliError(f"{_flag(effect)}: {count} cannot be used: {problems[0]}: repair or remove what cannot be used")

    digest = blake2b(digest_size=_FINGERPRINT_BYTES)
    for path in paths:
        digest.update(f"{path}\0{os.path.getsize(os.path.join(folder, path))}\0".encode(errors="surrogateescape"))
    digest.update(repr([one.crc32 for one in checked]).encode())
    return Recordings(
        folder=folder,
        paths=tuple(paths),
        index=None,
        fingerprint=digest.hexdigest(),
        notes=tuple(_notes(effect, len(files), len(paths), checked)),
    )


def _files_below(folder: str) -> Iterator[str]:
    """Yields the paths of files at any depth, relative to the folder, but those whose names begin with a dot.

    Links to folders are followed, once each.
    """
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if not name.startswith("."):
                yield os.path.relpath(os.path.join(place, name), folder)


def _nothing_found(effect: Effect, num_files: int) -> str:
    """Returns the message about a folder without recordings."""
    inner = sorted(path.parent.name for path in Path(effect.folder).glob(f"*/{DATASET_FILE}"))
    if inner:
        return f"{_flag(effect)}: it holds data set folders: name one of them, such as {effect.folder}/{inner[0]}"
    found = f"none of its {num_files:,} files is a recording by its name" if num_files else "it is empty"
    return (
        f"{_flag(effect)}: {found}: give a folder with files such as .wav, .flac, .ogg or .mp3, or a folder of shards"
    )


def _check(effect: Effect, path: str) -> _Checked:
    """Opens a recording."""
    try:
        if effect.kind == "rir":
            check_impulse_response(path)
            is_cut = False
        else:
            is_cut = check_noise(path)
    except AudioError as error:
        return _Checked(0, problem=str(error))
    return _Checked(_crc32_of_ends(path), is_cut=is_cut)


def _crc32_of_ends(path: str) -> int:
    """Returns the CRC-32 of a file's first and last bytes; raises AudioError where it cannot be read."""
    last = max(0, os.path.getsize(path) - _COMPARED_BYTES)
    crc32 = 0
    for start in (0, last):
        content = read_local(Range(path, start, _COMPARED_BYTES))
        if isinstance(content, Exception):
            raise AudioError(f"unreadable: {content}")
        crc32 = zlib.crc32(content, crc32)
    return crc32


def _notes(effect: Effect, num_files: int, num_recordings: int, checked: list[_Checked]) -> Iterator[str]:
    """Yields what to say about a folder's files that are not used, or not looked at."""
    if num_files > num_recordings:
        yield f"{_flag(effect)}: {num_files - num_recordings:,} of {num_files:,} files are no recordings by their names"
    if num_recordings > len(checked):
        yield f"{_flag(effect)}: {len(checked):,} of {num_recordings:,} recordings were opened beforehand"
    num_cut = sum(one.is_cut for one in checked)
    if num_cut:
        yield (
            f"{_flag(effect)}: of {num_cut:,} long recordings only the first {MAX_SECONDS_FROM_START:g} s are used, as "
            "their format, such as mp3, cannot be entered in the middle: convert them to wav or flac to use all"
        )
