"""The steps of a run: catalog, epoch plan and loader put together, one window of shards in memory at a time."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from asrscale import batching
from asrscale.audio import SAMPLE_RATE_HZ, num_frames, perturbed_length
from asrscale.batching import Ids
from asrscale.index import Catalog, Index, read_shards
from asrscale.loader import MIN_BATCH_SAMPLES, Batch, Damaged, load_step, one_ahead
from asrscale.model import Recognizer
from asrscale.storage import Cache
from asrscale.text import frames_needed

# Half a gigabyte of index rows at most, and far more than a step, so that a window is a fair sample of the data.
WINDOW_HOURS = 300

# So long before it is needed the next window is read and planned, which takes seconds: until this one ends, both are in
# memory.
WINDOW_AHEAD_STEPS = 100

SPEEDS_TENTHS = (9, 10, 11)  # Ko et al. 2015, "Audio augmentation for speech recognition"
_SPEED_SALT = 11


@dataclass(frozen=True, eq=False)
class RunPlan:
    """What decides the order of the data, and nothing of the machine."""

    catalog: Catalog  # the training data
    windows: tuple[Ids, ...]  # the shard numbers of each window
    steps: Ids  # (W,) optimizer steps of each window
    seed: int  # the run's seed
    batch_samples: int  # padded audio of a unit
    units_per_step: int  # units of a step
    perturb_speed: bool  # whether an utterance is heard at 0.9, 1.0 or 1.1 of its speed, drawn anew each epoch

    @property
    def fingerprint(self) -> str:
        """Differs where the data do, or anything else that decides their order."""
        catalog, given = self.catalog, (self.seed, self.batch_samples, self.units_per_step, self.perturb_speed)
        names = [os.path.basename(shard) for shard in catalog.shards]
        return sha256(repr((names, catalog.samples.tolist(), catalog.utterances.tolist(), given)).encode()).hexdigest()[
            :16
        ]

    @property
    def longest_samples(self) -> int:
        """Of an utterance, as slow as it may be heard and as the loader pads it."""
        slowest = SPEEDS_TENTHS[0] if self.perturb_speed else 10
        return max(MIN_BATCH_SAMPLES, int(perturbed_length(self.catalog.longest_samples.max(), slowest)))

    def most_utterances(self, cap_samples: int, world_size: int) -> int:
        """How many of the longest utterances a pass may hold: in `cap_samples`, a unit or a rank's share of a step."""
        share_samples = max(self.batch_samples, self.batch_samples * self.units_per_step // world_size)
        return max(1, min(cap_samples, share_samples) // self.longest_samples)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch, the same for every one."""
        return int(self.steps.sum())


@dataclass(frozen=True, eq=False)
class Visit:
    """A window in an epoch: who is in it, and when."""

    index: Index  # its N utterances
    speeds: Ids | None  # (N,) at how many tenths of its speed each is heard; None: as it is
    heard_samples: Ids  # (N,) the length of each at that speed
    computed_samples: Ids  # (N,) the length that the loader pads one to that is alone
    plan: batching.EpochPlan


@dataclass(frozen=True)
class Step:
    """One optimizer step: what all ranks compute together, and this rank's share of it."""

    number: int  # 0-based, over all epochs
    utterances: int  # how many there are on all ranks, damaged ones included
    audio_samples: int  # their samples
    padded_samples: int  # what is computed on for them
    batches: list[Batch]  # this rank's passes
    damaged: tuple[Damaged, ...]  # the utterances that are missing in them
    index: Index  # what the utterances' numbers mean


def plan_run(
    catalog: Catalog, *, seed: int, batch_seconds: float, units_per_step: int, perturb_speed: bool = False
) -> RunPlan:
    """Groups the shards into windows and counts their steps; reads no index."""
    batch_samples = int(batch_seconds * SAMPLE_RATE_HZ)
    window_samples = int(WINDOW_HOURS * 3600) * SAMPLE_RATE_HZ
    windows = batching.group_windows(catalog.samples, seed=seed, window_samples=window_samples)
    steps = batching.window_steps(windows, catalog.samples, catalog.utterances, batch_samples, units_per_step)
    return RunPlan(catalog, windows, steps, seed, batch_samples, units_per_step, perturb_speed)


@lru_cache(maxsize=1)  # a run with one window reads it once
def read_window(plan: RunPlan, window: int, recognizer: Recognizer) -> tuple[Index, Index]:
    """The utterances of a window that can be trained on, and those that are too short for their transcript."""
    index = read_shards(plan.catalog, plan.windows[window])
    fastest = SPEEDS_TENTHS[-1] if plan.perturb_speed else 10
    feasible = feasible_utterances(index, perturbed_length(index.num_samples, fastest), recognizer)
    return index.take(np.flatnonzero(feasible)), index.take(np.flatnonzero(~feasible))


def feasible_utterances(index: Index, lengths: Ids, recognizer: Recognizer) -> NDArray[np.bool_]:
    """(N,) whether CTC can emit the transcript in `lengths` samples."""
    have = num_frames(lengths, recognizer.model.config.conv_kernel, recognizer.model.config.conv_stride)
    # In either case, text has at most 1.5 characters a byte of UTF-8, which take two frames each: that tells of nearly
    # all speech that it is long enough, in milliseconds, where encoding the transcripts of a window takes seconds.
    feasible: NDArray[np.bool_] = (index.text_bytes > 0) & (3 * index.text_bytes <= have)
    for number in np.flatnonzero(~feasible).tolist():
        needed = frames_needed(recognizer.vocabulary.encode(index.texts[number].as_py()))
        feasible[number] = 0 < needed <= have[number]
    return feasible


def steps_from(
    plan: RunPlan, recognizer: Recognizer, numbers: range, *, rank: int, world_size: int, cap_samples: int,
    threads: int, pin: bool = False, cache: Cache | None = None,
) -> Iterator[Step]:  # fmt: skip
    """Some consecutive steps of a run, with this rank's batches; only windows that they are in are read.

    One reader runs through windows and epochs: it has the next step ready while the caller computes, and the next
    window planned before this one ends. `recognizer` says which utterances are long enough, and labels them;
    `cap_samples` is the most padded samples of a pass; `threads` decode (libsndfile runs outside the interpreter's
    lock); `pin` page-locks the batches, for a GPU; whole shards are read through `cache`, where there is one.

    Raises:
        CliError: A window's index does not hold what was promised, or a shard of it is missing.
        DataError: A shard is gone, or cannot be read at all.
    """
    if not numbers:
        return

    def read() -> Iterator[Step]:
        ahead, left = planner.submit(plan_visit, plan, recognizer, numbers[0]), numbers
        while left:
            _, window, first = batching.find_step(plan.steps, left[0], seed=plan.seed)
            own, left = left[: int(plan.steps[window]) - first], left[int(plan.steps[window]) - first :]
            visit = ahead.result()
            for place, number in enumerate(own):
                if left and place == max(0, len(own) - WINDOW_AHEAD_STEPS):
                    ahead = planner.submit(plan_visit, plan, recognizer, left[0])
                lengths = visit.computed_samples
                units = visit.plan.step(first + place)
                ranks = batching.cut_step(units, lengths, memory_cap_samples=cap_samples, world_size=world_size)
                what = visit.index, recognizer.vocabulary, ranks[rank]
                loaded = load_step(*what, decoders, pin=pin, speeds=visit.speeds, cache=cache)
                utterances, audio = sum(map(len, units)), sum(int(visit.heard_samples[unit].sum()) for unit in units)
                padded = sum(batching.padded_samples(one, lengths) for passes in ranks for one in passes)
                yield Step(number, utterances, audio, padded, loaded.batches, loaded.damaged, visit.index)

    with ThreadPoolExecutor(threads, "decode") as decoders, ThreadPoolExecutor(1, "plan-ahead") as planner:
        yield from one_ahead(read())


def plan_visit(plan: RunPlan, recognizer: Recognizer, number: int) -> Visit:
    """Reads and plans the window that step `number` of a run is in."""
    epoch, window, _ = batching.find_step(plan.steps, number, seed=plan.seed)
    index, _ = read_window(plan, window, recognizer)
    speeds = draw_speeds(len(index), plan.seed, epoch, window) if plan.perturb_speed else None
    heard = index.num_samples if speeds is None else perturbed_length(index.num_samples, speeds)
    computed = np.maximum(heard, MIN_BATCH_SAMPLES)
    size = dict(steps=int(plan.steps[window]), units_per_step=plan.units_per_step)
    planned = batching.plan_window(computed, seed=plan.seed, epoch=epoch, window=window, **size)
    return Visit(index, speeds, heard, computed, planned)


def draw_speeds(count: int, seed: int, epoch: int, window: int) -> Ids:
    """(count,) speed of each utterance of a window in tenths: a function of seed, epoch and utterance."""
    drawn = batching.hash_keys(count, seed, epoch, window, _SPEED_SALT) % np.uint64(len(SPEEDS_TENTHS))
    return np.array(SPEEDS_TENTHS, np.int64)[drawn.astype(np.int64)]


def describe_plan(plan: RunPlan, recognizer: Recognizer, *, world_size: int, cap_samples: int) -> str:
    """What the first window's first epoch will look like: steps, padding, balance, and its units by length, as text."""
    visit = plan_visit(plan, recognizer, 0)
    lengths, steps = visit.computed_samples, [visit.plan.step(number) for number in range(visit.plan.num_steps)]
    longest = np.array([lengths[unit].max() / SAMPLE_RATE_HZ for units in steps for unit in units if len(unit)])
    audio, padded, work, waited = 0, 0, 0, 0
    for units in steps[:: max(1, len(steps) // 200)]:  # a sample of the steps is enough
        ranks = batching.cut_step(units, lengths, memory_cap_samples=cap_samples, world_size=world_size)
        longest_of = [[(len(ids), lengths[ids].max()) for ids in own if len(ids)] for own in ranks]
        times = [sum(count * int(batching.relative_time(longest)) for count, longest in own) for own in longest_of]
        work, waited = work + sum(times), waited + max(times) * world_size
        passes = [utterances for own in ranks for utterances in own]
        audio += sum(int(lengths[utterances].sum()) for utterances in passes)
        padded += sum(batching.padded_samples(utterances, lengths) for utterances in passes)
    counts, edges = np.histogram(longest, 8)
    lines = [
        f"{plan.steps_per_epoch:,} steps an epoch in {len(plan.windows):,} windows, {plan.units_per_step} units a "
        f"step; padding {1 - audio / padded:.1%}, mean/max work of {world_size} ranks {work / waited:.3f}"
    ]
    bins = zip(counts, pairwise(edges), strict=True)
    return "\n".join(lines + [f"  {low:5.1f} to {high:5.1f} s {n:8,} units" for n, (low, high) in bins])
