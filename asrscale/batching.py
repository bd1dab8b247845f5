"""The epoch plan: which utterances make up which step, and who computes what of it.

    plan_epoch(lengths, seed, epoch, ...) -> steps     hyperparameters only: no hardware, no ranks
    cut_step(units, lengths, ...)         -> passes    hardware only: may change at any step

A *unit* is a set of utterances of similar length whose padded audio (longest × count) is about
`batch_seconds`; a *step* (one optimizer step) is `units_per_step` units of mixed lengths; a *pass* is what
one rank runs forward and backward at once. Both functions are pure, so every rank computes the same plan,
the order does not depend on the number of ranks, and a position is the pair (epoch, step).

Decisions are made on integers, with keys from a small hash, so that they are the same on every machine.
Lengths are in samples throughout.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]

# A unit's sort keys are lengths blurred by ±0.5 %, so that partners change from epoch to epoch while
# padding stays below 1 %.
BLUR_SCALE, BLUR_RANGE = 2048, 10

# Time of a pass grows as padded audio × (1 + T/120 s): base wav2vec2 costs 42.2 GFLOP per second of audio
# at 10 s and 48.7 at 30 s (forward and backward, frozen CNN), because of attention.
QUADRATIC_SAMPLES = 120 * 16_000

_BLUR_SALT, _DEAL_SALT = 1, 2


@dataclass(frozen=True)
class EpochPlan:
    """The steps of one epoch.

    Attributes:
        utterances: (N,) every utterance of the epoch once, unit after unit.
        unit_ends: (K,) where each unit ends in `utterances`; unit k of the epoch is in step k // units_per_step.
        units_per_step: How many units make a step; the last units of a tiny corpus may be empty.
    """

    utterances: Ids
    unit_ends: Ids
    units_per_step: int

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the epoch."""
        return len(self.unit_ends) // self.units_per_step

    def step(self, number: int) -> list[Ids]:
        """The units of step `number` (0-based within the epoch)."""
        first = number * self.units_per_step
        ends = self.unit_ends[first : first + self.units_per_step]
        starts = [self.unit_ends[first - 1] if first else 0, *ends[:-1]]
        return [self.utterances[start:end] for start, end in zip(starts, ends, strict=True)]


def splitmix64(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): a well mixed 64-bit hash of each value."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def hash_keys(count: int, *salts: int) -> NDArray[np.uint64]:
    """(count,) hashes of 0 … count-1, another set for other salts."""
    state = np.zeros(1, np.uint64)
    for salt in salts:
        state = splitmix64(state ^ np.uint64(salt & 0xFFFF_FFFF_FFFF_FFFF))
    return splitmix64(np.arange(count, dtype=np.uint64) ^ state)


def num_steps(lengths: Ids, batch_samples: int, units_per_step: int) -> int:
    """Optimizer steps in an epoch, the same for every epoch; never more than there are utterances."""
    needed = -(-int(lengths.sum()) // (batch_samples * units_per_step))
    return max(1, min(needed, len(lengths)))


def plan_epoch(lengths: Ids, *, seed: int, epoch: int, batch_samples: int, units_per_step: int) -> EpochPlan:
    """Deals every utterance into one unit, and the units into steps.

    Args:
        lengths: (N,) samples of each utterance, N > 0.
        seed: The run's seed.
        epoch: 0-based; partners and order change with it.
        batch_samples: The padded audio a unit should hold, in samples.
        units_per_step: Units in a step.
    """
    blur = (hash_keys(len(lengths), seed, epoch, _BLUR_SALT) % np.uint64(2 * BLUR_RANGE + 1)).astype(np.int64)
    order = np.argsort(lengths * (BLUR_SCALE + blur - BLUR_RANGE), kind="stable")
    steps = num_steps(lengths, batch_samples, units_per_step)
    ends = _cut_units(lengths[order], steps * units_per_step)
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])

    # Shuffled units are dealt round the steps, empty ones last: no step is without an utterance.
    dealt = np.argsort(hash_keys(len(ends), seed, epoch, _DEAL_SALT), kind="stable")
    dealt = dealt[np.argsort(ends[dealt] == starts[dealt], kind="stable")]
    dealt = dealt.reshape(units_per_step, steps).T.ravel()
    utterances = np.concatenate([order[starts[unit] : ends[unit]] for unit in dealt])
    return EpochPlan(utterances, np.cumsum((ends - starts)[dealt]), units_per_step)


def cut_step(units: Sequence[Ids], lengths: Ids, *, memory_cap_samples: int, world_size: int) -> list[list[Ids]]:
    """Cuts the units of a step into passes and deals them to the ranks.

    Every rank gets the same number of passes; a rank with nothing left gets empty ones, which it runs
    with weight zero so that collectives inside a pass still meet.

    Args:
        units: The step's units.
        lengths: (N,) samples of each utterance of the index.
        memory_cap_samples: The most padded samples a pass may hold; no utterance is longer.
        world_size: Number of ranks.

    Returns:
        For each rank its passes, the most expensive first.
    """
    pieces = [piece for unit in units for piece in _split_to_cap(unit, lengths, memory_cap_samples)]
    while len(pieces) % world_size or not pieces:
        largest = max(range(len(pieces)), key=lambda i: (len(pieces[i]) > 1) * _cost(pieces[i], lengths), default=None)
        if largest is None or len(pieces[largest]) < 2:
            pieces.append(np.zeros(0, np.int64))
        else:
            pieces[largest : largest + 1] = np.array_split(pieces[largest], 2)

    ranks: list[list[Ids]] = [[] for _ in range(world_size)]
    loads = [0] * world_size
    passes_per_rank = len(pieces) // world_size
    for piece in sorted(pieces, key=lambda piece: -_cost(piece, lengths)):
        rank = min((r for r in range(world_size) if len(ranks[r]) < passes_per_rank), key=lambda r: loads[r])
        ranks[rank].append(piece)
        loads[rank] += _cost(piece, lengths)
    return ranks


def padded_samples(utterances: Ids, lengths: Ids) -> int:
    """The samples a pass computes on: longest × count."""
    return int(lengths[utterances].max()) * len(utterances) if len(utterances) else 0


def _cost(utterances: Ids, lengths: Ids) -> int:
    """Relative time of a pass."""
    longest = int(lengths[utterances].max()) if len(utterances) else 0
    return longest * len(utterances) * (QUADRATIC_SAMPLES + longest)


def _split_to_cap(unit: Ids, lengths: Ids, memory_cap_samples: int) -> list[Ids]:
    """The unit in as few nearly equal pieces as keep each under the cap, similar lengths together."""
    if not len(unit):
        return []
    unit = unit[np.argsort(lengths[unit], kind="stable")]
    longest = int(lengths[unit[-1]])
    most = max(1, memory_cap_samples // longest)
    return list(np.array_split(unit, -(-len(unit) // most)))


def _cut_units(lengths: Ids, count: int) -> Ids:
    """(count,) ends of `count` units of nearly equal padded audio along (nearly) sorted `lengths`."""
    low, high = 0, int(lengths.max()) * len(lengths)
    while low < high:  # to the smallest cap that needs no more than `count` units
        middle = (low + high) // 2
        if len(_greedy_ends(lengths, middle, limit=count)) > count:
            low = middle + 1
        else:
            high = middle
    ends = _greedy_ends(lengths, low, limit=count)
    if len(ends) < count and low > 0:
        ends = _with_two_caps(lengths, ends, low - 1, count)
    return np.array(ends + [len(lengths)] * (count - len(ends)), np.int64)


def _with_two_caps(lengths: Ids, ends: list[int], smaller_cap: int, count: int) -> list[int]:
    """Exactly `count` units: the first of `ends`, then units under `smaller_cap`, which alone makes too many.

    Each unit of `ends` that is kept removes at most one unit from the total, so some number of them gives
    exactly `count`; it is found by bisection.
    """

    def with_kept(kept: int) -> list[int]:
        start = ends[kept - 1] if kept else 0
        return ends[:kept] + _greedy_ends(lengths, smaller_cap, limit=count - kept, start=start)

    few, many = 0, len(ends)
    while many - few > 1:
        middle = (few + many) // 2
        if len(with_kept(middle)) > count:
            few = middle
        else:
            many = middle
    return with_kept(many)


def _greedy_ends(lengths: Ids, cap: int, limit: int, start: int = 0) -> list[int]:
    """Ends of the units made by filling each up to `cap` padded samples; stops once there are over `limit`."""
    ends: list[int] = []
    while start < len(lengths) and len(ends) <= limit:
        # The first is nearly the shortest (± the blur), so no unit holds twice as many as of its length.
        chunk = lengths[start : start + 2 * cap // int(lengths[start]) + 1]
        padded = np.maximum.accumulate(chunk) * np.arange(1, len(chunk) + 1)
        start += max(1, int(np.searchsorted(padded, cap, side="right")))
        ends.append(start)
    return ends
