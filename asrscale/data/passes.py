"""One step to the passes of each rank: what is computed at once on one device."""

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

import numpy as np

from asrscale.data.even_cuts import count_units, cut_evenly, relative_time
from asrscale.data.hashing import Ids

# What a pass costs beside its audio (kernel launches, gathers) differs between machines. Not measured: a second of
# audio is little, but keeps passes from being many for next to no gain.
PASS_PRICE_SAMPLES, EXTRA_PASSES = 16_000, 2


def cut_step(units: Sequence[Ids], lengths: Ids, *, memory_cap_samples: int, world_size: int) -> list[list[Ids]]:
    """Cuts a step into passes and deals them to the ranks.

    Ranks wait for each other once a step or (ZeRO-2, 3) at every pass: so passes are dealt in rounds of like time,
    the longest of a round to the rank with the least so far, and of several cuts the fastest is taken.

    Args:
        units: The step's units.
        lengths: (N,) samples of each utterance that units may name.
        memory_cap_samples: The most padded samples a pass may hold; a longer utterance is a pass of its own.
        world_size: Number of ranks.

    Returns:
        For each rank its passes, as many for all, the longest first. A rank with nothing left gets empty ones, which
        it runs with weight zero so that collectives inside a pass still meet.
    """
    units = [unit[np.argsort(lengths[unit], kind="stable")] for unit in units if len(unit)]
    if not units:
        return [[np.zeros(0, np.int64)] for _ in range(world_size)]
    apart = np.concatenate(units)
    mixed = apart[np.argsort(lengths[apart], kind="stable")]
    ways = [(apart, _cut_apart(units, lengths, memory_cap_samples, world_size))]
    ways += [(mixed, ends) for ends in _cut_mixed(lengths[mixed], memory_cap_samples, world_size)]
    timed = [(np.diff(ends, prepend=0) * relative_time(lengths[way[ends - 1]]), way, ends) for way, ends in ways]
    # A round takes as long as its longest pass.
    times, utterances, ends = min(timed, key=lambda way: (np.sort(way[0])[::-world_size] + PASS_PRICE_SAMPLES).sum())
    passes = [utterances[start:end] for start, end in pairwise([0, *ends.tolist()])]
    ranks: list[list[Ids]] = [[] for _ in range(world_size)]
    loads = np.zeros(world_size, np.int64)
    for dealt in np.argsort(-times, kind="stable").reshape(-1, world_size):
        by_load = np.argsort(loads, kind="stable")
        loads[by_load] += times[dealt]
        for rank, number in zip(by_load, dealt, strict=True):
            ranks[rank].append(passes[number])
    return ranks


def padded_samples(utterances: Ids, lengths: Ids) -> int:
    """The samples a pass computes on: longest × count."""
    return int(lengths[utterances].max()) * len(utterances) if len(utterances) else 0


def _cut_apart(units: Sequence[Ids], lengths: Ids, memory_cap_samples: int, world_size: int) -> Ids:
    """Ends of passes that divide each unit by itself: no padding is added, but passes are less even."""
    counts = np.array([len(unit) for unit in units])
    longest = lengths[[unit[-1] for unit in units]]
    times, pieces = counts * relative_time(longest), -(-counts // np.maximum(1, memory_cap_samples // longest))
    for _ in range(-int(pieces.sum()) % world_size):
        pieces[np.argmax(times // pieces)] += 1  # as D'Hondt's method hands out seats
    divided = zip(accumulate(counts.tolist(), initial=0), counts.tolist(), pieces.tolist(), strict=False)
    return np.array([start + count * k // number for start, count, number in divided for k in range(1, number + 1)])


def _cut_mixed(lengths: Ids, memory_cap_samples: int, world_size: int) -> Iterator[Ids]:
    """Ends of even passes along a whole sorted step: some hold the last of one unit and the first of the next."""
    fewest = -(-count_units(lengths, memory_cap_samples, len(lengths)) // world_size)
    for rounds in range(fewest, fewest + EXTRA_PASSES + 1):
        ends = cut_evenly(relative_time(lengths), rounds * world_size)
        sizes = np.diff(ends, prepend=0)
        if ((sizes * lengths[ends - 1] <= memory_cap_samples) | (sizes <= 1)).all():
            yield ends
