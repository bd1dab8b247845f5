"""Cuts one step into the passes of each rank: what is computed at once on one device.

Shapes: N utterances of a data set, U of the step, P passes of the step.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from asrscale.data.even_cuts import ceil_divide, count_units, cut_evenly, relative_time
from asrscale.data.hashing import NO_IDS, Ids

# What a pass costs beside its audio (calls, kernel launches, gathers) differs between models and machines. On a CPU it
# was 2 s of audio with `tiny`, 1 s with 2.7 million parameters, and nothing that could be measured with base; on GPUs
# it was not measured. Half a second keeps passes from being many for next to no gain.
PASS_PRICE_SAMPLES = 8_000

# A pass with frames of padding computes attention with a mask, and counts as longer by one part in 32. Not measured: by
# what is published of the kernels, a mask costs 1 to 4 % of a pass on a GPU.
MASK_SHARE = 32

# Rounds of passes that are tried beyond the fewest: more, shorter passes may be dealt more evenly.
EXTRA_ROUNDS = 2


def cut_step(
    units: Sequence[Ids], lengths: Ids, *, memory_cap_samples: int, world_size: int, frames: Ids | None = None
) -> list[list[Ids]]:
    """Cuts a step into passes and deals them to the ranks.

    Ranks wait for each other once a step or (ZeRO-2, 3) at every pass: so passes are dealt in rounds of like time,
    the longest of a round to the rank with the least so far, and of several cuts the fastest is taken.

    Args:
        units: The step's units.
        lengths: (N,) samples of each utterance that units may name.
        memory_cap_samples: The most padded samples a pass may hold; a longer utterance is a pass of its own.
        world_size: Number of ranks.
        frames: (N,) frames that the encoder gets of each utterance; None: as many as it has samples.

    Returns:
        For each rank its passes, as many for all, the longest first. A rank with nothing left gets empty ones, which
        it runs with weight zero so that collectives inside a pass still meet.
    """
    filled_units = [_sort_by_length(unit, lengths) for unit in units if len(unit)]
    if not filled_units:
        return [[NO_IDS] for _ in range(world_size)]

    sizes = _Sizes(lengths, lengths if frames is None else frames)
    cuts = [
        *_cut_each_unit(filled_units, sizes, memory_cap_samples, world_size),
        *_cut_whole_step(filled_units, sizes, memory_cap_samples, world_size),
    ]
    fastest = min(cuts, key=lambda cut: cut.total_time(world_size))
    return _deal(fastest, world_size)


def padded_samples(utterances: Ids, lengths: Ids) -> int:
    """Returns the samples that a pass computes on: longest × count."""
    if len(utterances) == 0:
        return 0
    return int(lengths[utterances].max()) * len(utterances)


def pass_time(utterances: Ids, lengths: Ids) -> int:
    """Returns the time of a pass, in samples of very short utterances."""
    if len(utterances) == 0:
        return 0
    return int(relative_time(lengths[utterances].max())) * len(utterances)


@dataclass(frozen=True, eq=False)
class _Sizes:
    """How long the utterances of a data set are."""

    lengths: Ids  # (N,) samples
    frames: Ids  # (N,) frames that the encoder gets


@dataclass(frozen=True, eq=False)
class _Cut:
    """One way to cut a step into passes, as many for each rank."""

    utterances: Ids  # (U,) of the step, pass after pass
    ends: Ids  # (P,) where in `utterances` each pass ends
    times: Ids  # (P,) of each pass
    is_padded: NDArray[np.bool_]  # (P,) whether it has frames of padding

    def total_time(self, world_size: int) -> int:
        """Returns the time of the step where ranks wait for each other at every pass.

        A round of `world_size` passes of like time takes as long as its longest.
        """
        times = self.times + self.is_padded * (self.times // MASK_SHARE)
        longest_of_rounds = np.sort(times)[::-world_size]
        return int((longest_of_rounds + PASS_PRICE_SAMPLES).sum())


def _sort_by_length(utterances: Ids, lengths: Ids) -> Ids:
    """Returns the utterances by ascending length; those of one length keep their order."""
    return utterances[lengths[utterances].argsort(kind="stable")]


def _make_cut(utterances: Ids, ends: Ids, sizes: _Sizes) -> _Cut:
    """Returns the cut of `utterances` at `ends`; those of each pass are sorted by length."""
    counts = np.diff(ends, prepend=0)
    longest = utterances[ends - 1]
    shortest = utterances[ends - np.maximum(1, counts)]
    return _Cut(
        utterances=utterances,
        ends=ends,
        times=counts * relative_time(sizes.lengths[longest]),
        is_padded=sizes.frames[shortest] < sizes.frames[longest],
    )


def _cut_each_unit(units: Sequence[Ids], sizes: _Sizes, memory_cap_samples: int, world_size: int) -> Iterator[_Cut]:
    """Yields cuts of each unit by itself: no padding is added, but passes are less even. Units are sorted by length."""
    utterances = np.concatenate(units)
    counts = np.array([len(unit) for unit in units])
    longest = sizes.lengths[[unit[-1] for unit in units]]
    times = counts * relative_time(longest)
    most_utterances = np.maximum(1, memory_cap_samples // longest)
    pieces = ceil_divide(counts, most_utterances)
    fewest_rounds = ceil_divide(int(pieces.sum()), world_size)
    for rounds in range(fewest_rounds, fewest_rounds + EXTRA_ROUNDS + 1):
        for _ in range(rounds * world_size - int(pieces.sum())):  # until each rank has as many
            pieces[np.argmax(times // pieces)] += 1  # as D'Hondt's method hands out seats
        yield _make_cut(utterances, _ends_of_pieces(counts, pieces), sizes)


def _ends_of_pieces(counts: Ids, pieces: Ids) -> Ids:
    """Returns the ends of all passes where units of so many utterances are cut evenly into so many pieces."""
    ends: list[int] = []
    start = 0
    for count, num_pieces in zip(counts.tolist(), pieces.tolist(), strict=True):
        ends += [start + count * piece // num_pieces for piece in range(1, num_pieces + 1)]
        start += count
    return np.array(ends)


def _cut_whole_step(units: Sequence[Ids], sizes: _Sizes, memory_cap_samples: int, world_size: int) -> Iterator[_Cut]:
    """Yields even cuts along the whole sorted step: some passes hold the last of one unit and the first of the next."""
    utterances = _sort_by_length(np.concatenate(units), sizes.lengths)
    lengths = sizes.lengths[utterances]
    fewest_passes = count_units(lengths, memory_cap_samples, len(utterances))
    fewest_rounds = ceil_divide(fewest_passes, world_size)
    for rounds in range(fewest_rounds, fewest_rounds + EXTRA_ROUNDS + 1):
        ends = cut_evenly(relative_time(lengths), rounds * world_size)
        counts = np.diff(ends, prepend=0)
        padded = counts * lengths[ends - 1]
        fits = (padded <= memory_cap_samples) | (counts <= 1)
        if fits.all():
            yield _make_cut(utterances, ends, sizes)


def _deal(cut: _Cut, world_size: int) -> list[list[Ids]]:
    """Deals the passes of a cut, longest first, in rounds of one a rank; returns for each rank its passes."""
    passes = [cut.utterances[start:end] for start, end in pairwise([0, *cut.ends.tolist()])]
    longest_first = np.argsort(-cut.times, kind="stable")
    ranks: list[list[Ids]] = [[] for _ in range(world_size)]
    loads = np.zeros(world_size, np.int64)
    for dealt in longest_first.reshape(-1, world_size):
        least_loaded_first = np.argsort(loads, kind="stable")
        loads[least_loaded_first] += cut.times[dealt]
        for rank, number in zip(least_loaded_first, dealt, strict=True):
            ranks[rank].append(passes[number])
    return ranks
