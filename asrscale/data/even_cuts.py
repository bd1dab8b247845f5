"""Cuts utterances, sorted by length, into units whose most expensive one is as cheap as possible."""

from bisect import bisect_left
from collections.abc import Iterator

import numpy as np

from asrscale.data.hashing import Ids

# Time of a pass grows as padded audio × (1 + T/120 s): base wav2vec2 costs 42.2 GFLOP per second of audio
# at 10 s and 48.7 at 30 s (forward and backward, frozen CNN), because of attention.
QUADRATIC_SAMPLES = 120 * 16_000


def relative_time(longest: Ids) -> Ids:
    """Time of each utterance of a pass whose longest is `longest`, in samples of very short ones."""
    return longest + longest * longest // QUADRATIC_SAMPLES


def cut_evenly(times: Ids, count: int) -> Ids:
    """(count,) ends of units along (N,) ascending times, such that the dearest (count × longest) is as cheap as can be.

    Exactly min(count, N) units, the last ones, are not empty.
    """
    utterances, filled = len(times), min(count, len(times))
    if not filled:
        return np.zeros(count, np.int64)
    enough = int(times[-1]) * -(-utterances // filled)  # with this cap, units hold N / filled or more
    cap = bisect_left(range(enough), True, key=lambda cap: count_units(times, cap, utterances) <= filled)
    ends = _unit_ends(times, cap, utterances)
    if len(ends) < filled:
        # The next smaller cap makes too many. Each unit kept from the larger takes at most one from the total, so
        # some number of them makes it exact.
        few = range(len(ends))
        kept = bisect_left(few, True, key=lambda n: n + count_units(times, cap - 1, int(ends[n])) <= filled)
        ends = np.concatenate([ends[:kept], _unit_ends(times, cap - 1, int(ends[kept]))])
    return np.concatenate([np.zeros(count - filled, np.int64), ends[::-1]])


def _unit_ends(times: Ids, cap: int, end: int) -> Ids:
    """Where units end that are filled up to `cap` from `end` downwards, longest utterances first."""
    return np.concatenate([end - size * np.arange(units) for end, size, units in _runs(times, cap, end)])


def count_units(times: Ids, cap: int, end: int) -> int:
    """How many ends `_unit_ends` has."""
    return sum(units for _, _, units in _runs(times, cap, end))


def _runs(times: Ids, cap: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Runs of units that hold equally many utterances: the end of the first, utterances in each, units.

    A unit's first utterance is its longest and says how many fit: one search for each number finds all units.
    """
    while end > 0:
        size = max(1, cap // int(times[end - 1]))
        more_fit = int(times.searchsorted(cap // (size + 1), side="right"))
        units = -(-(end - more_fit) // size)
        yield end, size, units
        end -= size * units
