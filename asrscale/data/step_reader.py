"""The steps of a run with their audio, read ahead, one window of shards in memory at a time."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from asrscale.common.shard_cache import Cache
from asrscale.data import epoch_plan
from asrscale.data.batches import Batch
from asrscale.data.index import Index
from asrscale.data.loader import Damaged, load_step, prefetch_one
from asrscale.data.passes import cut_step, padded_samples
from asrscale.data.run_plan import RunPlan, plan_visit

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


def steps_from(
    plan: RunPlan, numbers: range, *, rank: int, world_size: int, cap_samples: int,
    threads: int, pin: bool = False, cache: Cache | None = None,
) -> Iterator[Step]:  # fmt: skip
    """Some consecutive steps of a run, with this rank's batches; only windows that they are in are read.

    One reader runs through windows and epochs: it has the next step ready while the caller computes, and the next
    window planned before this one ends. `cap_samples` is the most padded samples of a pass; `threads` decode
    (libsndfile runs outside the interpreter's lock); `pin` page-locks the batches, for a GPU; whole shards are read
    through `cache`, where there is one.

    Raises:
        CliError: A window's index does not hold what was promised, or a shard of it is missing.
        DataError: A shard is gone, or cannot be read at all.
    """
    if not numbers:
        return

    def read() -> Iterator[Step]:
        ahead, left = planner.submit(plan_visit, plan, numbers[0]), numbers
        while left:
            _, window, first = epoch_plan.find_step(plan.steps, left[0], seed=plan.seed)
            own, left = left[: int(plan.steps[window]) - first], left[int(plan.steps[window]) - first :]
            visit = ahead.result()
            for place, number in enumerate(own):
                if left and place == max(0, len(own) - WINDOW_AHEAD_STEPS):
                    ahead = planner.submit(plan_visit, plan, left[0])
                lengths = visit.computed_samples
                units = visit.plan.step(first + place)
                ranks = cut_step(units, lengths, memory_cap_samples=cap_samples, world_size=world_size)
                what = visit.index, plan.vocabulary, ranks[rank]
                loaded = load_step(*what, decoders, pin=pin, speeds=visit.speeds, cache=cache)
                utterances, audio = sum(map(len, units)), sum(int(visit.heard_samples[unit].sum()) for unit in units)
                padded = sum(padded_samples(one, lengths) for passes in ranks for one in passes)
                yield Step(number, utterances, audio, padded, loaded.batches, loaded.damaged, visit.index)

    with ThreadPoolExecutor(threads, "decode") as decoders, ThreadPoolExecutor(1, "plan-ahead") as planner:
        yield from prefetch_one(read())
