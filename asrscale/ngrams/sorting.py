"""Distinct keys with their counts, sorted: of more keys than memory holds.

Batches are sorted in memory, written one after another to a file, and merged from there.

Shapes: K keys of a batch or table, R runs.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from asrscale.ngrams.array_files import Keys, map_file, write_array

MERGED_KEYS = 1 << 22  # of all runs that are in memory at once while they are merged: 64 MB with their counts
_SMALLEST_BLOCK = 1 << 10


@dataclass(frozen=True, eq=False)
class CountedKeys:
    """Keys in a file, each once, and how often each occurred."""

    keys: Keys  # (K,) ascending
    counts: Keys  # (K,)

    def rows_of(self, keys: Keys) -> Keys:
        """Returns where keys, all of which are in the table, are in it."""
        # In their order, so that the file is read from its beginning to its end.
        different, inverse = np.unique(keys, return_inverse=True)
        return np.searchsorted(self.keys, different)[inverse]


def count_keys(batches: Iterable[Keys], path: Path) -> CountedKeys:
    """Counts the keys of all batches.

    Args:
        batches: (K,) keys each, in any order; one is in memory at a time.
        path: Files of this name with endings are written, and are what the result reads.
    """
    runs = path.with_suffix(".runs")
    run_counts = path.with_suffix(".run_counts")
    ends = [0]
    with runs.open("wb") as key_file, run_counts.open("wb") as count_file:
        for batch in batches:
            keys, counts = np.unique(batch, return_counts=True)
            write_array(keys, key_file)
            write_array(counts.astype(np.int64), count_file)
            ends.append(ends[-1] + len(keys))
    if len(ends) > 2:
        spilled = CountedKeys(map_file(runs), map_file(run_counts))
        with path.with_suffix(".keys").open("wb") as key_file, path.with_suffix(".counts").open("wb") as count_file:
            _write_merged(spilled, np.array(ends), key_file, count_file)
        runs.unlink()
        run_counts.unlink()
    else:
        runs.rename(path.with_suffix(".keys"))
        run_counts.rename(path.with_suffix(".counts"))
    return CountedKeys(map_file(path.with_suffix(".keys")), map_file(path.with_suffix(".counts")))


def _write_merged(runs: CountedKeys, ends: Keys, key_file: IO[bytes], count_file: IO[bytes]) -> None:
    for keys, counts in _merge(runs, ends):
        write_array(keys, key_file)
        write_array(counts, count_file)


def _merge(runs: CountedKeys, ends: Keys) -> Iterator[tuple[Keys, Keys]]:
    """Yields the keys of sorted runs in ascending order, each once, with its counts added up.

    Args:
        runs: One behind another.
        ends: (R + 1,) where each run begins, and where the last one ends.
    """
    positions = ends[:-1].copy()
    block = max(_SMALLEST_BLOCK, MERGED_KEYS // len(positions))
    while (positions < ends[1:]).any():
        blocks = [
            (run, slice(int(position), int(min(position + block, end))))
            for run, (position, end) in enumerate(zip(positions, ends[1:], strict=True))
            if position < end
        ]
        # No block that is read later holds a key up to this one.
        last_key = min(runs.keys[part.stop - 1] for _, part in blocks)
        keys, counts = [], []
        for run, part in blocks:
            taken = int(np.searchsorted(runs.keys[part], last_key, side="right"))
            positions[run] += taken
            keys.append(runs.keys[part][:taken])
            counts.append(runs.counts[part][:taken])
        yield _add_up(np.concatenate(keys), np.concatenate(counts))


def _add_up(keys: Keys, counts: Keys) -> tuple[Keys, Keys]:
    """Returns keys in ascending order, each once, with the sum of its counts."""
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return keys[starts], np.add.reduceat(counts[order], starts)
