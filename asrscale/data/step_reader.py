"""The steps of a run with their audio, read ahead, one window of shards in memory at a time."""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain

from asrscale.common.shard_cache import Cache
from asrscale.data.batches import Batch
from asrscale.data.decoded import Decoded, decoded_of
from asrscale.data.epoch_plan import find_step
from asrscale.data.index import Index
from asrscale.data.loader import (
    ChangeSound,
    Damaged,
    Sound,
    Unaugmented,
    begin_step,
    finish_in_turn,
    finish_step,
    prefetch_one,
)
from asrscale.data.passes import cut_step, padded_samples
from asrscale.data.run_plan import RunPlan, Visit, plan_visit

# So long before it is needed the next window is read and planned, which takes seconds: until this one ends, both are in
# memory.
WINDOW_AHEAD_STEPS = 100


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
    unaugmented: tuple[Unaugmented, ...] = ()  # this rank's utterances whose sound is not as was drawn


def steps_from(
    plan: RunPlan,
    numbers: range,
    *,
    rank: int,
    world_size: int,
    cap_samples: int,
    threads: int,
    pin: bool = False,
    cache: Cache | None = None,
    change: ChangeSound | None = None,
) -> Iterator[Step]:
    """Yields some consecutive steps of a run, with this rank's batches; only windows that they are in are read.

    One reader runs through windows and epochs: it has the next step ready while the caller computes, and the next
    window planned before this one ends.

    Args:
        plan: The plan of the run.
        numbers: The steps, 0-based, over all epochs.
        rank: Of this process.
        world_size: Number of ranks.
        cap_samples: The most padded samples of a pass.
        threads: How many decode (libsndfile runs outside the interpreter's lock).
        pin: Whether to page-lock the batches, for a GPU.
        cache: Whole shards are read through it, where there is one.
        change: What is done to the sound of the utterances, at their speed; None: nothing.

    Raises:
        CliError: A window's index does not hold what was promised, or a shard of it is missing.
        DataError: A shard is gone, or cannot be read at all.
    """
    if not numbers:
        return
    with ThreadPoolExecutor(threads, "decode") as decoders, ThreadPoolExecutor(1, "plan-ahead") as planner:
        share = _Share(
            plan=plan,
            rank=rank,
            world_size=world_size,
            cap_samples=cap_samples,
            pin=pin,
            cache=cache,
            change=change,
            decoders=decoders,
            decoded=decoded_of(plan.catalog),
        )
        yield from prefetch_one(finish_in_turn(_begin_steps(share, numbers, planner)))


@dataclass(frozen=True, eq=False)
class _Share:
    """What one rank reads of each step, and by which means; most fields are the arguments of `steps_from`."""

    plan: RunPlan
    rank: int
    world_size: int
    cap_samples: int
    pin: bool
    cache: Cache | None
    change: ChangeSound | None
    decoders: Executor
    decoded: Decoded | None  # samples of steps before


def _begin_steps(share: _Share, numbers: range, planner: Executor) -> Iterator[Callable[[], Step]]:
    """Yields the steps, each begun when it is requested; `planner` plans a window while the one before it is read."""
    pending = planner.submit(plan_visit, share.plan, numbers[0])
    for stretch, first_offset in _split_by_window(share.plan, numbers):
        visit = pending.result()
        next_number = stretch[-1] + 1
        plan_ahead_at = max(0, len(stretch) - WINDOW_AHEAD_STEPS)
        for place, number in enumerate(stretch):
            if place == plan_ahead_at and next_number in numbers:
                pending = planner.submit(plan_visit, share.plan, next_number)
            yield _begin(share, visit, number, first_offset + place)


def _split_by_window(plan: RunPlan, numbers: range) -> Iterator[tuple[range, int]]:
    """Yields the parts of consecutive step numbers that lie in one window of one epoch.

    Yields:
        The step numbers, and the place of the first of them within its window.
    """
    left = numbers
    while left:
        first = find_step(plan.steps, left[0], seed=plan.seed)
        left_in_window = int(plan.steps[first.window]) - first.offset
        yield left[:left_in_window], first.offset
        left = left[left_in_window:]


def _begin(share: _Share, visit: Visit, number: int, offset: int) -> Callable[[], Step]:
    """Begins to load this rank's passes of step `number` of the run, which is step `offset` of the window.

    Returns:
        What waits for them, and returns the step.
    """
    units = visit.plan.step(offset)
    lengths = visit.computed_samples
    ranks = cut_step(
        units,
        lengths,
        memory_cap_samples=share.cap_samples,
        world_size=share.world_size,
        frames=visit.computed_frames,
    )
    begun = begin_step(
        visit.index,
        ranks[share.rank],
        share.decoders,
        sound=Sound(visit.speeds_tenths, share.change, visit.sound_keys),
        cache=share.cache,
        decoded=share.decoded,
    )
    utterances = sum(len(unit) for unit in units)
    audio_samples = sum(int(visit.played_samples[unit].sum()) for unit in units)
    step_padded_samples = sum(padded_samples(of_pass, lengths) for of_pass in chain.from_iterable(ranks))

    def finish() -> Step:
        loaded = finish_step(begun, share.plan.vocabulary, pin=share.pin)
        return Step(
            number=number,
            utterances=utterances,
            audio_samples=audio_samples,
            padded_samples=step_padded_samples,
            batches=loaded.batches,
            damaged=loaded.damaged,
            index=visit.index,
            unaugmented=loaded.unaugmented,
        )

    return finish
