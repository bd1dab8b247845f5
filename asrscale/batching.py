"""The epoch plan: which utterances make up which step, and who computes what of it.

    find_step(steps, number, ...)   -> epoch, window, step    nothing is planned, nothing read but sums
    plan_window(lengths, seed, ...) -> units of each step    hyperparameters only: no hardware, no ranks
    cut_step(units, lengths, ...)   -> passes of each rank   hardware only: may change at any step

A *unit* is utterances of similar length with about `batch_samples` of audio; a *step* (one optimizer step) is
`units_per_step` units of mixed lengths; a *pass* is what a rank runs forward and backward at once; a *window* is a
fixed group of shards that is planned at once, so that memory and start-up do not grow with the data. All is pure:
ranks make the same plan, its order does not depend on them, and a position is one integer.

Decisions are made on integers, with keys from a small hash, so that they are the same on every machine. Lengths
are positive and in samples. Shapes: N utterances, S shards, W windows.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]

# Utterances are sorted by length blurred upwards by less than 2^10 / 2^17 = 0.8 %, so that partners change from
# epoch to epoch while padding stays below 1 %.
NOISE_BITS, BLUR_BITS = 10, 17

# Time of a pass grows as padded audio × (1 + T/120 s): base wav2vec2 costs 42.2 GFLOP per second of audio
# at 10 s and 48.7 at 30 s (forward and backward, frozen CNN), because of attention.
QUADRATIC_SAMPLES = 120 * 16_000

# What a pass costs beside its audio (kernel launches, gathers) differs between machines. Not measured: a second of
# audio is little, but keeps passes from being many for next to no gain.
PASS_PRICE_SAMPLES, EXTRA_PASSES = 16_000, 2

_BLUR_SALT, _DEAL_SALT, _GROUP_SALT, _ORDER_SALT = 1, 2, 3, 4


@dataclass(frozen=True)
class EpochPlan:
    """The steps of a window, which is the whole epoch where there is only one.

    Where utterances are fewer than units, units are empty; where they are fewer than steps, whole steps are.
    """

    utterances: Ids  # (N,) every one once, unit after unit
    unit_bounds: Ids  # (steps, units_per_step + 1) where in `utterances` the units of each step begin and end

    @property
    def num_steps(self) -> int:
        """Optimizer steps in the plan."""
        return len(self.unit_bounds)

    def step(self, number: int) -> list[Ids]:
        """The units of step `number` (0-based within the plan)."""
        return [self.utterances[start:end] for start, end in pairwise(self.unit_bounds[number])]


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


def group_windows(shard_samples: Ids, *, seed: int, window_samples: int) -> tuple[Ids, ...]:
    """The shard numbers of each window, ascending, from the shards' (S,) samples; the same in all epochs.

    A window holds `window_samples` or up to twice that, but for the size of a shard; less data are one window.
    """
    mixed = np.argsort(hash_keys(len(shard_samples), seed, _GROUP_SALT), kind="stable")
    total = int(shard_samples.sum())
    count = max(1, min(total // window_samples, len(mixed)))
    starts = np.cumsum(shard_samples[mixed]) - shard_samples[mixed]
    cuts = np.searchsorted(starts, np.array([total * k // count for k in range(1, count)], np.int64))
    return tuple(np.sort(shards) for shards in np.split(mixed, cuts) if len(shards))


def window_steps(windows: Sequence[Ids], samples: Ids, utterances: Ids, batch_samples: int, units_per_step: int) -> Ids:
    """(W,) steps of each window: as many as hold the audio, but none that must stay empty.

    From the sums of the shards alone: (S,) samples and utterances.
    """
    sums = np.array([(samples[shards].sum(), utterances[shards].sum()) for shards in windows], np.int64)
    return np.minimum(-(-sums[:, 0] // (batch_samples * units_per_step)), sums[:, 1])


def find_step(steps: Ids, number: int, *, seed: int) -> tuple[int, int, int]:
    """Epoch, window and step within the window (all 0-based) of step `number` of a run with (W,) `window_steps`.

    The windows come in another order in each epoch.
    """
    epoch, number = divmod(number, int(steps.sum()))
    order = np.argsort(hash_keys(len(steps), seed, epoch, _ORDER_SALT), kind="stable")
    ends = np.cumsum(steps[order])
    place = int(np.searchsorted(ends, number, side="right"))
    return epoch, int(order[place]), number - int(ends[place] - steps[order[place]])


def plan_epoch(lengths: Ids, *, seed: int, epoch: int, batch_samples: int, units_per_step: int) -> EpochPlan:
    """`plan_window` for an epoch that is one window."""
    steps = min(-(-int(lengths.sum()) // (batch_samples * units_per_step)), len(lengths))
    return plan_window(lengths, seed=seed, epoch=epoch, window=0, steps=steps, units_per_step=units_per_step)


def plan_window(lengths: Ids, *, seed: int, epoch: int, window: int, steps: int, units_per_step: int) -> EpochPlan:
    """Deals every utterance of a window into one unit, and the units, which take equal time, into steps.

    Args:
        lengths: (N,) samples of each utterance that is used; N may be 0.
        seed: The run's seed.
        epoch: 0-based; partners and order change with it.
        window: The window's number, 0-based.
        steps: How many to make, at least 1: `window_steps` has promised them, whatever share of a window is used.
        units_per_step: Units in a step.
    """
    count = len(lengths)
    noise = (hash_keys(count, seed, epoch, window, _BLUR_SALT) >> np.uint64(64 - NOISE_BITS)).astype(np.int64)
    blurred = lengths + (lengths * noise >> BLUR_BITS)
    # Its number in the low bits makes each key unique: a plain sort does, several times as fast as a stable argsort.
    low_bits = count.bit_length()
    order = np.sort(blurred << low_bits | np.arange(count)) & ((1 << low_bits) - 1)
    ends = _cut_evenly(relative_time(np.maximum.accumulate(lengths[order])), steps * units_per_step)
    sizes = np.diff(ends, prepend=0)

    # Shuffled units are dealt round the steps, empty ones last: no step is empty that need not be.
    dealt = np.argsort(hash_keys(len(ends), seed, epoch, window, _DEAL_SALT), kind="stable")
    dealt = dealt[np.argsort(sizes[dealt] == 0, kind="stable")].reshape(units_per_step, steps).T.ravel()
    bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes[dealt])])
    moved = np.arange(count) + np.repeat(ends[dealt] - bounds[1:], sizes[dealt])
    of_step = np.arange(steps)[:, None] * units_per_step + np.arange(units_per_step + 1)
    return EpochPlan(order[moved], bounds[of_step])


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


def relative_time(longest: Ids) -> Ids:
    """Time of each utterance of a pass whose longest is `longest`, in samples of very short ones."""
    return longest + longest * longest // QUADRATIC_SAMPLES


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
    fewest = -(-_count_units(lengths, memory_cap_samples, len(lengths)) // world_size)
    for rounds in range(fewest, fewest + EXTRA_PASSES + 1):
        ends = _cut_evenly(relative_time(lengths), rounds * world_size)
        sizes = np.diff(ends, prepend=0)
        if ((sizes * lengths[ends - 1] <= memory_cap_samples) | (sizes <= 1)).all():
            yield ends


def _cut_evenly(times: Ids, count: int) -> Ids:
    """(count,) ends of units along (N,) ascending times, such that the dearest (count × longest) is as cheap as can be.

    Exactly min(count, N) units, the last ones, are not empty.
    """
    utterances, filled = len(times), min(count, len(times))
    if not filled:
        return np.zeros(count, np.int64)
    enough = int(times[-1]) * -(-utterances // filled)  # with this cap, units hold N / filled or more
    cap = bisect_left(range(enough), True, key=lambda cap: _count_units(times, cap, utterances) <= filled)
    ends = _unit_ends(times, cap, utterances)
    if len(ends) < filled:
        # The next smaller cap makes too many. Each unit kept from the larger takes at most one from the total, so
        # some number of them makes it exact.
        few = range(len(ends))
        kept = bisect_left(few, True, key=lambda n: n + _count_units(times, cap - 1, int(ends[n])) <= filled)
        ends = np.concatenate([ends[:kept], _unit_ends(times, cap - 1, int(ends[kept]))])
    return np.concatenate([np.zeros(count - filled, np.int64), ends[::-1]])


def _unit_ends(times: Ids, cap: int, end: int) -> Ids:
    """Where units end that are filled up to `cap` from `end` downwards, longest utterances first."""
    return np.concatenate([end - size * np.arange(units) for end, size, units in _runs(times, cap, end)])


def _count_units(times: Ids, cap: int, end: int) -> int:
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
