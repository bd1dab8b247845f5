"""Cuts utterances, sorted by length, into units whose most expensive one is as cheap as possible.

A unit is a stretch of the sorted utterances. It takes as long as its longest utterance, times how many it holds.
Shapes: N utterances.
"""

from bisect import bisect_left
from collections.abc import Iterator

import numpy as np

from asrscale.data.hashing import Ids
from asrscale.speech.pcm import Count

# Time of a pass grows as padded audio × (1 + T/120 s): base wav2vec2 costs 42.2 GFLOP per second of audio
# at 10 s and 48.7 at 30 s (forward and backward, frozen CNN), because of attention.
QUADRATIC_SAMPLES = 120 * 16_000


def ceil_divide(amount: Count, size: Count | int) -> Count:
    """Returns `amount` / `size`, rounded up; takes integers, or arrays of them."""
    return -(-amount // size)


def relative_time(longest: Ids) -> Ids:
    """Returns the time of one utterance of a pass whose longest is `longest` samples, in samples of very short ones."""
    return longest + longest * longest // QUADRATIC_SAMPLES


def cut_evenly(times: Ids, count: int) -> Ids:
    """Returns the ends of `count` units along ascending `times` whose most expensive unit is as cheap as possible.

    Args:
        times: (N,) relative time of each utterance, ascending; N may be 0.
        count: Units to make, at least 1.

    Returns:
        (count,) ends, ascending. Exactly min(count, N) units, the last ones, hold utterances; the others are empty.
    """
    num_utterances = len(times)
    num_filled = min(count, num_utterances)
    if num_filled == 0:
        return np.zeros(count, np.int64)

    cap = smallest_cap(times, num_filled)
    ends = _unit_ends(times, cap, num_utterances)
    if len(ends) < num_filled:
        ends = _split_further(times, cap, ends, num_filled)

    ends_of_empty = np.zeros(count - num_filled, np.int64)
    return np.concatenate([ends_of_empty, ends[::-1]])


def count_units(times: Ids, cap: int, end: int) -> int:
    """Returns how many units of at most `cap` the first `end` utterances fill.

    An utterance that takes longer than `cap` is a unit alone.
    """
    return sum(num_units for _, _, num_units in _runs(times, cap, end))


def smallest_cap(times: Ids, max_units: int) -> int:
    """Returns the smallest cap on the time of a unit with which no more than `max_units` units hold all utterances."""
    num_utterances = len(times)
    utterances_per_unit = ceil_divide(num_utterances, max_units)
    sufficient_cap = int(times[-1]) * utterances_per_unit  # with it, each unit holds that many or more

    def suffices(cap: int) -> bool:
        return count_units(times, cap, num_utterances) <= max_units

    return bisect_left(range(sufficient_cap), True, key=suffices)


def _split_further(times: Ids, cap: int, ends: Ids, num_units: int) -> Ids:
    """Returns the ends of exactly `num_units` units, where `cap` gives fewer and `cap - 1` gives more.

    The units of the longest utterances are kept as `cap` made them, and the rest is cut with `cap - 1`. Each unit kept
    takes at most one from the total, so some number of them makes it exact.

    Args:
        times: (N,) relative time of each utterance, ascending.
        cap: The smallest cap on the time of a unit that gives no more than `num_units`.
        ends: The `_unit_ends` that it gives.
        num_units: How many to make.
    """

    def is_few_enough(num_kept: int) -> bool:
        rest = count_units(times, cap - 1, int(ends[num_kept]))
        return num_kept + rest <= num_units

    num_kept = bisect_left(range(len(ends)), True, key=is_few_enough)
    ends_of_rest = _unit_ends(times, cap - 1, int(ends[num_kept]))
    return np.concatenate([ends[:num_kept], ends_of_rest])


def _unit_ends(times: Ids, cap: int, end: int) -> Ids:
    """Returns the descending ends of units that are filled up to `cap` from `end` downwards, longest first."""
    runs = _runs(times, cap, end)
    return np.concatenate([first_end - size * np.arange(num_units) for first_end, size, num_units in runs])


def _runs(times: Ids, cap: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yields runs of units that hold equally many utterances, filled up to `cap` from `end` downwards.

    A unit's first utterance, counted from `end`, is its longest and decides how many fit: one search for each number
    of utterances finds all its units, instead of one search a unit.

    Yields:
        The end of the run's first unit, the utterances in each of its units, and the number of its units.
    """
    while end > 0:
        size = max(1, cap // int(times[end - 1]))
        more_fit = int(times.searchsorted(cap // (size + 1), side="right"))  # below it, size + 1 fit in a unit
        num_units = -(-(end - more_fit) // size)  # ceil_divide, whose call would cost a tenth of `cut_step`
        yield end, size, num_units
        end -= size * num_units
