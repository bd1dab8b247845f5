"""The epoch plan: which utterances make up which step, and which rank computes what of it.

    find_step(steps, number, ...)   -> epoch, window, step    nothing is planned, nothing read but sums
    plan_window(lengths, seed, ...) -> units of each step    hyperparameters only: no hardware, no ranks
    cut_step(units, lengths, ...)   -> passes of each rank   hardware only: may change at any step

A *unit* is utterances of similar length, most often of one number of frames, with about `batch_samples` of audio; a
*step* (one optimizer step) is `units_per_step` units that take about equal time, most often of several lengths; a
*pass* is what a rank runs forward and backward at once; a *window* is a fixed group of shards that is planned at once,
so that memory and start-up do not grow with the data. All is pure: ranks make the same plan, its order does not depend
on them, and a position is one integer.

Decisions are made on integers, with keys from a small hash, so that they are the same on every machine. Lengths
are positive and in samples. Shapes: N utterances, S shards, W windows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asrscale.data.equal_frames import cut_into_units
from asrscale.data.even_cuts import ceil_divide, relative_time
from asrscale.data.hashing import Ids, hash_keys, stable_argsort

# Where utterances are sorted by length, it is blurred upwards by less than 2^10 / 2^17 = 0.8 %, so that partners change
# from epoch to epoch while padding stays below 1 %.
NOISE_BITS = 10
BLUR_BITS = 17

# The times of units are blurred upwards by less than 2^10 / 2^15 = 3 % before they are sorted, so that the units of a
# step change from epoch to epoch while they still take about equal time.
TIME_BLUR_BITS = 15

# One for each decision that is drawn, so that no two are drawn alike.
_BLUR_SALT = 1
_DEAL_SALT = 2
_GROUP_SALT = 3
_ORDER_SALT = 4
_STEP_SALT = 5


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
        """Returns the units of step `number` (0-based within the plan)."""
        return [self.utterances[start:end] for start, end in pairwise(self.unit_bounds[number])]


class StepPlace(NamedTuple):
    """Where a step of a run is found; all 0-based."""

    epoch: int
    window: int
    offset: int  # its number within the window


def group_windows(shard_samples: Ids, *, seed: int, window_samples: int) -> tuple[Ids, ...]:
    """Returns the shard numbers of each window, ascending; they are the same in all epochs.

    A window holds `window_samples` or up to twice that, but for the size of a shard; less data are one window.

    Args:
        shard_samples: (S,) samples of each shard.
        seed: The run's seed.
        window_samples: The fewest samples of a window.
    """
    keys = hash_keys(len(shard_samples), seed, _GROUP_SALT)
    mixed = np.argsort(keys, kind="stable")

    total = int(shard_samples.sum())
    count = max(1, min(total // window_samples, len(mixed)))
    window_starts = np.array([total * number // count for number in range(1, count)], np.int64)

    mixed_samples = shard_samples[mixed]
    shard_starts = np.cumsum(mixed_samples) - mixed_samples
    cuts = np.searchsorted(shard_starts, window_starts)
    return tuple(np.sort(shards) for shards in np.split(mixed, cuts) if len(shards))


def window_steps(
    windows: Sequence[Ids], samples: Ids, utterances: Ids, *, batch_samples: int, units_per_step: int
) -> Ids:
    """Returns (W,) steps of each window: as many as hold the audio, but none that must stay empty.

    Args:
        windows: The shard numbers of each window.
        samples: (S,) samples of each shard.
        utterances: (S,) how many utterances each shard holds.
        batch_samples: Samples of a unit.
        units_per_step: Units in a step.
    """
    audio = np.array([samples[shards].sum() for shards in windows], np.int64)
    most_steps = np.array([utterances[shards].sum() for shards in windows], np.int64)
    return np.minimum(ceil_divide(audio, batch_samples * units_per_step), most_steps)


def find_step(steps: Ids, number: int, *, seed: int) -> StepPlace:
    """Returns where step `number` of a run is found. The windows come in another order in each epoch.

    Args:
        steps: (W,) steps of each window, as `window_steps` counts them.
        number: 0-based, over all epochs.
        seed: The run's seed.
    """
    epoch, number_in_epoch = divmod(number, int(steps.sum()))
    order = np.argsort(hash_keys(len(steps), seed, epoch, _ORDER_SALT), kind="stable")
    ends = np.cumsum(steps[order])
    place = int(np.searchsorted(ends, number_in_epoch, side="right"))
    window = int(order[place])
    first_in_epoch = int(ends[place] - steps[window])
    return StepPlace(epoch, window, number_in_epoch - first_in_epoch)


def plan_epoch(
    lengths: Ids,
    *,
    seed: int,
    epoch: int,
    batch_samples: int,
    units_per_step: int,
    frames: Ids | None = None,
    even_steps: bool = True,
) -> EpochPlan:
    """Returns the plan of `plan_window` for an epoch that is one window."""
    enough_steps = ceil_divide(int(lengths.sum()), batch_samples * units_per_step)
    return plan_window(
        lengths,
        seed=seed,
        epoch=epoch,
        window=0,
        steps=min(enough_steps, len(lengths)),
        units_per_step=units_per_step,
        frames=frames,
        even_steps=even_steps,
    )


def plan_window(
    lengths: Ids,
    *,
    seed: int,
    epoch: int,
    window: int,
    steps: int,
    units_per_step: int,
    frames: Ids | None = None,
    even_steps: bool = True,
) -> EpochPlan:
    """Deals every utterance of a window into one unit, and the units, which take similar time, into steps.

    Args:
        lengths: (N,) samples of each utterance that is used; N may be 0.
        seed: The run's seed.
        epoch: 0-based; partners and order change with it.
        window: The window's number, 0-based.
        steps: How many to make, at least 1: `window_steps` has promised them, whatever share of a window is used.
        units_per_step: Units in a step.
        frames: (N,) frames that the encoder gets of each utterance: those of a unit have equally many where there are
            enough of them. None: units are cut along the lengths alone.
        even_steps: Whether units of nearly equal time are put together in a step, so that ranks wait little for each
            other. If not, those of a step are drawn from all, which differ by up to a quarter and more.
    """
    keys = hash_keys(len(lengths), seed, epoch, window, _BLUR_SALT)
    by_length = stable_argsort(_blur(lengths, keys))
    by_unit, unit_ends = cut_into_units(by_length, lengths, frames, keys, steps * units_per_step)
    unit_sizes = np.diff(unit_ends, prepend=0)

    deal_keys = hash_keys(len(unit_ends), seed, epoch, window, _DEAL_SALT)
    if even_steps:
        times = _unit_times(lengths, by_unit, unit_ends)
        step_keys = hash_keys(steps, seed, epoch, window, _STEP_SALT)
        dealt = _deal_like_units(times, deal_keys, step_keys, units_per_step)
    else:
        dealt = _deal_any_units(unit_sizes, deal_keys, steps=steps, units_per_step=units_per_step)

    # Units move from where `by_unit` has them to where `dealt` puts them.
    dealt_sizes = unit_sizes[dealt]
    bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(dealt_sizes)])
    shifts = unit_ends[dealt] - bounds[1:]
    origins = np.arange(len(lengths)) + np.repeat(shifts, dealt_sizes)

    first_units = np.arange(steps)[:, None] * units_per_step
    bounds_of_step = first_units + np.arange(units_per_step + 1)
    return EpochPlan(utterances=by_unit[origins], unit_bounds=bounds[bounds_of_step])


def _blur(values: Ids, keys: NDArray[np.uint64], bits: int = BLUR_BITS) -> Ids:
    """Returns lengths or times, each made longer by noise from its key."""
    noise = (keys >> np.uint64(64 - NOISE_BITS)).astype(np.int64)
    return values + (values * noise >> bits)


def _unit_times(lengths: Ids, by_unit: Ids, unit_ends: Ids) -> Ids:
    """Returns the relative time of each unit, 0 of those without utterances."""
    sizes = np.diff(unit_ends, prepend=0)
    is_filled = sizes > 0
    times = np.zeros(len(sizes), np.int64)
    if is_filled.any():
        starts = (unit_ends - sizes)[is_filled]
        longest = np.maximum.reduceat(lengths[by_unit], starts)
        times[is_filled] = sizes[is_filled] * relative_time(longest)
    return times


def _deal_like_units(
    times: Ids, unit_keys: NDArray[np.uint64], step_keys: NDArray[np.uint64], units_per_step: int
) -> Ids:
    """Returns the numbers of the units in the order of the steps, those of one step beside each other.

    Filled units are cut along their blurred times into as many steps as they can fill, which come in a drawn order.
    Empty units are the last of each step, and empty steps the last of all: no step is empty that need not be.

    Args:
        times: Relative time of each unit; 0 of those that are empty.
        unit_keys: By which times are blurred.
        step_keys: A key for each step, by which their order is drawn.
        units_per_step: Units in a step.
    """
    by_time = stable_argsort(_blur(times, unit_keys, TIME_BLUR_BITS))
    num_empty = int(np.count_nonzero(times == 0))
    empty, filled = by_time[:num_empty], by_time[num_empty:]

    num_filled_steps = min(len(step_keys), len(filled))
    ends = len(filled) * np.arange(1, num_filled_steps + 1) // max(1, num_filled_steps)
    counts = np.diff(ends, prepend=0)
    drawn = np.argsort(step_keys[:num_filled_steps], kind="stable")  # the steps along the times, in their final order
    place_of_step = np.argsort(drawn)
    place_of_unit = np.repeat(place_of_step, counts)
    in_order = filled[np.argsort(place_of_unit, kind="stable")]

    has_unit = np.zeros((len(step_keys), units_per_step), np.bool_)
    has_unit[:num_filled_steps] = np.arange(units_per_step) < counts[drawn][:, None]
    dealt = np.empty(has_unit.size, np.int64)
    dealt[has_unit.ravel()] = in_order
    dealt[~has_unit.ravel()] = empty
    return dealt


def _deal_any_units(sizes: Ids, keys: NDArray[np.uint64], *, steps: int, units_per_step: int) -> Ids:
    """Returns what `_deal_like_units` does, with units of any time in a step.

    Shuffled units are dealt round the steps, empty ones last: no step is empty that need not be.

    Args:
        sizes: Utterances in each unit.
        keys: By which the units are shuffled.
        steps: Steps to deal them to.
        units_per_step: Units in a step.
    """
    shuffled = np.argsort(keys, kind="stable")
    is_empty = sizes[shuffled] == 0
    empty_last = shuffled[np.argsort(is_empty, kind="stable")]
    rounds = empty_last.reshape(units_per_step, steps)
    return rounds.T.ravel()
