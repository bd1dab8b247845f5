"""Paths of recordings that were written on another machine: which leading folders to take off."""

import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice

from asrscale.common.storage import is_remote
from asrscale.sources.recordings import AudioRoot, recording_file, roots_of
from asrscale.sources.rows import Row

FIRST_ROWS = 100  # where all of these are in their place, no path is doubted

SAMPLED_ROWS = 1_000  # at most so many, from all of the source, are looked for

_SLASHES = re.compile(r"[/\\]+")

# What a recipe would put its folder in place of: SpeechBrain's `$data_root/…`, `{data_root}/…`.
_VARIABLE = re.compile(r"(\$\w+|\$?\{\w+\})[/\\]")

_ABSOLUTE = re.compile(r"/|\\|[A-Za-z]:[/\\]")


def moved_prefixes(
    read_rows: Callable[[], Iterable[Row]], audio_root: AudioRoot, *, is_chosen: bool
) -> tuple[str, ...]:
    """Returns the leading folders without which the recordings of a sample of all rows are found.

    As few folders are taken off as it takes to find a recording. A prefix counts only where it finds at least half of
    the sampled recordings that start with it, and none of these is in its place. The recording's own folder stays, as
    Common Voice v1 has the same file names in every split; unless it is a variable, or the root is chosen, and all
    paths are absolute and of one folder.

    Args:
        read_rows: Returns all rows from the first on.
        audio_root: Where the recordings are looked for.
        is_chosen: Whether --audio_root names the root.
    """
    if all(is_remote(root) for root in roots_of(audio_root)):
        return ()
    first_rows = islice(_rows_of_files(read_rows()), FIRST_ROWS)
    if all(_is_there(row, audio_root) for row in first_rows):
        return ()

    sample = _spread_sample(_rows_of_files(read_rows()))
    in_place = {row.audio for row in sample if _is_there(row, audio_root)}
    moved = [row for row in sample if row.audio not in in_place]
    may_lose_own_folder = is_chosen and _is_one_absolute_folder(sample)
    votes = Counter(_prefix_to_remove(row, audio_root, may_lose_own_folder) for row in moved)
    del votes[""]

    prefixes: list[str] = []
    for prefix, num_found in votes.most_common():
        of_this_prefix = [row for row in moved if row.audio.startswith(prefix)]
        is_of_another_place = not any(audio.startswith(prefix) for audio in in_place)
        if is_of_another_place and 2 * num_found >= len(of_this_prefix):
            prefixes.append(prefix)
    return tuple(prefixes)


def print_prefixes(source: str, prefixes: Iterable[str]) -> None:
    """Says on stderr what is taken off."""
    for prefix in prefixes:
        print(f"{source}: no {prefix} here, so it is removed from the paths of recordings", file=sys.stderr)


def read_moved_rows(read_rows: Callable[[], Iterator[Row]], prefixes: tuple[str, ...]) -> Iterator[Row]:
    """Reads a source's rows, their paths without the first of these prefixes that they have."""
    for row in read_rows():
        prefix = next((prefix for prefix in prefixes if row.audio.startswith(prefix)), "")
        yield replace(row, audio=row.audio.removeprefix(prefix))


def _rows_of_files(rows: Iterable[Row]) -> Iterator[Row]:
    """Yields the rows whose recording is a file of its own."""
    return (row for row in rows if row.tar is None and not is_remote(row.audio))


def _spread_sample(rows: Iterable[Row]) -> list[Row]:
    """Returns up to SAMPLED_ROWS rows at even distances, however many there are, in one pass."""
    sample: list[Row] = []
    step = 1
    for number, row in enumerate(rows):
        if number % step:
            continue
        sample.append(row)
        if len(sample) > SAMPLED_ROWS:
            sample = sample[::2]
            step *= 2
    return sample


def _is_there(row: Row, audio_root: AudioRoot) -> bool:
    """Whether the recording of a row is found."""
    path = recording_file(row, audio_root)
    return path is not None and (is_remote(path) or os.path.isfile(path))


def _is_one_absolute_folder(sample: list[Row]) -> bool:
    """Whether all paths are absolute, also in Windows's way, and lie in the same folder."""
    folders = {_folder(row.audio) for row in sample}
    return len(folders) == 1 and all(_ABSOLUTE.match(folder) for folder in folders)


def _folder(audio: str) -> str:
    """Returns all of a path up to its file's name."""
    ends = [slashes.end() for slashes in _SLASHES.finditer(audio)]
    return audio[: ends[-1]] if ends else ""


def _prefix_to_remove(row: Row, audio_root: AudioRoot, may_lose_own_folder: bool) -> str:
    """Returns the fewest leading folders without which a row's recording is found; empty where that does not help."""
    ends = [slashes.end() for slashes in _SLASHES.finditer(row.audio)]
    is_variable_alone = len(ends) == 1 and _VARIABLE.match(row.audio)
    removable_ends = ends if may_lose_own_folder or is_variable_alone else ends[:-1]
    for end in removable_ends:
        if _is_there(replace(row, audio=row.audio[end:]), audio_root):
            return row.audio[:end]
    return ""
