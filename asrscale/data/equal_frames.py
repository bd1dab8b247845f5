"""Cuts utterances into units whose utterances all have the same number of frames, where there are enough of them.

A pass of such a unit has no padded frame, so that attention computes it without a mask. Utterances whose number of
frames is rare are cut along the sorted lengths, together with what is left over of the others.

Shapes: N utterances, G groups of utterances that have the same number of frames.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asrscale.data.even_cuts import ceil_divide, count_units, cut_evenly, relative_time, smallest_cap
from asrscale.data.hashing import Ids, stable_argsort

# A group is cut by itself where it has so many halves of a unit. With fewer, the same utterances would meet again too
# often: in one and a half units, two of a unit meet in the next epoch with a chance of at most two in three.
FEWEST_HALF_UNITS = 3

# A unit may hold up to a thirty-second fewer utterances than fit, if nothing of its group is left over then.
FEWER_SHARE = 32

# What is left over is padded more, and may ask for units that take up to 3 % longer than along the sorted lengths.
CAP_SHARE = 1_024
CAPS_TRIED = 32

_KEY_BITS = 16  # of each hash: they order the utterances of a group


@dataclass(frozen=True, eq=False)
class _Groups:
    """The utterances by their number of frames, ascending; those of a group in a drawn order."""

    utterances: Ids  # (N,) group after group
    counts: Ids  # (G,) utterances of each
    times: Ids  # (G,) relative time of the longest utterance of each


def cut_into_units(
    by_length: Ids, lengths: Ids, frames: Ids | None, keys: NDArray[np.uint64], count: int
) -> tuple[Ids, Ids]:
    """Deals utterances into units of equal time, of equal frames where there are enough of them.

    Args:
        by_length: (N,) utterances by their length, which may be blurred.
        lengths: (N,) samples of each utterance.
        frames: (N,) frames that the encoder gets of each; None: whatever they are, cut along `by_length`.
        keys: (N,) hashes, which draw the partners of those with the same number of frames.
        count: Units to make, at least 1.

    Returns:
        (N,) the utterances, unit after unit, and (count,) the ends of the units. Exactly min(count, N) hold any.
    """
    times = _times_along(by_length, lengths)
    if frames is not None and len(lengths) > count:
        cap = smallest_cap(times, count)
        groups = _group(lengths, frames, keys)
        for step in range(CAPS_TRIED):
            found = _cut_groups(groups, by_length, lengths, cap + cap * step // CAP_SHARE, count)
            if found is not None:
                return found
    return by_length, cut_evenly(times, count)


def _times_along(order: Ids, lengths: Ids) -> Ids:
    """Returns the relative time of each utterance in an order of nearly ascending lengths, as if it was ascending."""
    return relative_time(np.maximum.accumulate(lengths[order]))


def _group(lengths: Ids, frames: Ids, keys: NDArray[np.uint64]) -> _Groups:
    """Returns the groups of the utterances; their keys draw the order within a group."""
    drawn = (keys >> np.uint64(64 - _KEY_BITS)).astype(np.int64)
    utterances = stable_argsort(frames << _KEY_BITS | drawn)
    starts = np.flatnonzero(np.diff(frames[utterances], prepend=-1))
    longest = np.maximum.reduceat(lengths[utterances], starts)
    return _Groups(utterances, counts=np.diff(starts, append=len(frames)), times=relative_time(longest))


def _cut_groups(groups: _Groups, by_length: Ids, lengths: Ids, cap: int, count: int) -> tuple[Ids, Ids] | None:
    """Returns what `cut_into_units` does, with units that take at most `cap`; None where `count` do not suffice."""
    units, taken = _units_of_groups(groups, cap)
    is_taken = _first_of_groups(groups.counts, taken)
    is_left = np.ones(len(lengths), np.bool_)
    is_left[groups.utterances[is_taken]] = False
    rest = by_length[is_left[by_length]]
    rest_times = _times_along(rest, lengths)
    group_units = int(units.sum())
    spare_units = count - group_units - count_units(rest_times, cap, len(rest))
    if spare_units < 0:
        return None
    if group_units:  # where lengths are few, the cap of one unit more would be much lower
        units += units * spare_units // group_units
    rest_units = count - int(units.sum())
    if rest_units > len(rest) or (units > taken).any():  # each unit needs an utterance
        return None

    ends = np.concatenate([_even_ends(units, taken), int(taken.sum()) + cut_evenly(rest_times, rest_units)])
    return np.concatenate([groups.utterances[is_taken], rest]), ends


def _units_of_groups(groups: _Groups, cap: int) -> tuple[Ids, Ids]:
    """Returns (G,) the units of each group alone, and (G,) how many of its utterances they hold.

    A unit takes at most `cap`, and is nearly full: what does not fill one is left over.
    """
    sizes = np.maximum(1, cap // groups.times)
    units_of_all = ceil_divide(groups.counts, sizes)
    fit_whole = units_of_all * (sizes - sizes // FEWER_SHARE) <= groups.counts
    full_units = groups.counts // sizes
    units = np.where(fit_whole, units_of_all, full_units)
    taken = np.where(fit_whole, groups.counts, full_units * sizes)
    is_enough = 2 * groups.counts >= FEWEST_HALF_UNITS * sizes
    return units * is_enough, taken * is_enough


def _first_of_groups(counts: Ids, taken: Ids) -> NDArray[np.bool_]:
    """Returns (N,) which utterances are among the first `taken` (G,) of their group; `counts` (G,) are there."""
    starts = np.cumsum(counts) - counts
    places = np.arange(counts.sum()) - np.repeat(starts, counts)
    first: NDArray[np.bool_] = places < np.repeat(taken, counts)
    return first


def _even_ends(units: Ids, taken: Ids) -> Ids:
    """Returns the ends of all units of groups, which divide the `taken` (G,) utterances of each evenly."""
    own_units, own_taken = np.repeat(units, units), np.repeat(taken, units)
    numbers = np.arange(1, len(own_units) + 1) - np.repeat(np.cumsum(units) - units, units)
    before = np.repeat(np.cumsum(taken) - taken, units)
    ends: Ids = before + own_taken * numbers // own_units
    return ends
