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

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from asrscale.data.even_cuts import cut_evenly, relative_time
from asrscale.data.hashing import Ids, hash_keys

# Utterances are sorted by length blurred upwards by less than 2^10 / 2^17 = 0.8 %, so that partners change from
# epoch to epoch while padding stays below 1 %.
NOISE_BITS, BLUR_BITS = 10, 17


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
    ends = cut_evenly(relative_time(np.maximum.accumulate(lengths[order])), steps * units_per_step)
    sizes = np.diff(ends, prepend=0)

    # Shuffled units are dealt round the steps, empty ones last: no step is empty that need not be.
    dealt = np.argsort(hash_keys(len(ends), seed, epoch, window, _DEAL_SALT), kind="stable")
    dealt = dealt[np.argsort(sizes[dealt] == 0, kind="stable")].reshape(units_per_step, steps).T.ravel()
    bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes[dealt])])
    moved = np.arange(count) + np.repeat(ends[dealt] - bounds[1:], sizes[dealt])
    of_step = np.arange(steps)[:, None] * units_per_step + np.arange(units_per_step + 1)
    return EpochPlan(order[moved], bounds[of_step])
