"""The steps of a run: catalog, epoch plan and loader put together, one window of shards in memory at a time."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asrscale.audio import SAMPLE_RATE_HZ, num_frames
from asrscale.batching import Ids, cut_step, find_step, group_windows, padded_samples, plan_window, window_steps
from asrscale.index import Catalog, Index, read_shards
from asrscale.loader import Batch, Damaged, load_steps
from asrscale.model import Recognizer

# Half a gigabyte of index rows at most, and far more than a step, so that a window is a fair sample of the data.
WINDOW_HOURS = 300


@dataclass(frozen=True, eq=False)
class RunPlan:
    """What decides the order of the data, and nothing of the machine.

    Attributes:
        catalog: The training data.
        windows: The shard numbers of each window.
        steps: (W,) optimizer steps of each window.
        seed: The run's seed.
        batch_samples: Padded audio of a unit.
        units_per_step: Units of a step.
    """

    catalog: Catalog
    windows: tuple[Ids, ...]
    steps: Ids
    seed: int
    batch_samples: int
    units_per_step: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch, the same for every one."""
        return int(self.steps.sum())


@dataclass(frozen=True)
class Step:
    """One optimizer step: what all ranks compute together, and this rank's share of it.

    Attributes:
        number: 0-based, over all epochs.
        utterances: How many there are on all ranks, damaged ones included.
        audio_samples: Their samples.
        padded_samples: What is computed on for them.
        batches: This rank's passes.
        damaged: The utterances that are missing in them.
        index: What the utterances' numbers mean.
        waiting_seconds: How long this rank waited for the batches.
    """

    number: int
    utterances: int
    audio_samples: int
    padded_samples: int
    batches: list[Batch]
    damaged: tuple[Damaged, ...]
    index: Index
    waiting_seconds: float


def plan_run(catalog: Catalog, *, seed: int, batch_seconds: float, units_per_step: int) -> RunPlan:
    """Groups the shards into windows and counts their steps; reads no index."""
    batch_samples = int(batch_seconds * SAMPLE_RATE_HZ)
    window_samples = int(WINDOW_HOURS * 3600) * SAMPLE_RATE_HZ
    windows = group_windows(catalog.samples, seed=seed, window_samples=window_samples)
    steps = window_steps(windows, catalog.samples, catalog.utterances, batch_samples, units_per_step)
    return RunPlan(catalog, windows, steps, seed, batch_samples, units_per_step)


@lru_cache(maxsize=1)  # a run with one window reads it once
def read_window(plan: RunPlan, window: int, recognizer: Recognizer) -> tuple[Index, Index]:
    """The utterances of a window that can be trained on, and those that are too short for their transcript."""
    index = read_shards(plan.catalog, plan.windows[window])
    feasible = feasible_utterances(index, recognizer)
    return index.take(np.flatnonzero(feasible)), index.take(np.flatnonzero(~feasible))


def feasible_utterances(index: Index, recognizer: Recognizer) -> NDArray[np.bool_]:
    """(N,) whether CTC can emit the transcript: a frame for each label, one more between equal neighbours."""
    stem = recognizer.model.config
    have = num_frames(index.num_samples, stem.conv_kernel, stem.conv_stride)
    labels = map(recognizer.vocabulary.encode, index.texts.to_pylist())
    needed = np.fromiter((len(ids) + sum(a == b for a, b in pairwise(ids)) for ids in labels), np.int64, len(index))
    return (needed > 0) & (needed <= have)


def steps_from(
    plan: RunPlan,
    recognizer: Recognizer,
    numbers: range,
    *,
    rank: int,
    world_size: int,
    cap_samples: int,
    **loading: Any,
) -> Iterator[Step]:
    """Some consecutive steps of a run, with this rank's batches; only windows that they are in are read.

    Args:
        plan: The order of the data.
        recognizer: Says which utterances are long enough, and how transcripts are labelled.
        numbers: The steps, 0-based over all epochs.
        rank: Of this process.
        world_size: Number of ranks.
        cap_samples: The most padded samples of a pass.
        **loading: `threads` and `pin` of `load_steps`.
    """
    while numbers:
        epoch, window, first = find_step(plan.steps, numbers[0], seed=plan.seed)
        count = min(int(plan.steps[window]) - first, len(numbers))
        index, _ = read_window(plan, window, recognizer)
        planned = plan_window(
            index.num_samples,
            seed=plan.seed,
            epoch=epoch,
            window=window,
            steps=int(plan.steps[window]),
            units_per_step=plan.units_per_step,
        )
        cuts = (
            cut_step(planned.step(step), index.num_samples, memory_cap_samples=cap_samples, world_size=world_size)
            for step in range(first, first + count)
        )
        yield from _loaded(index, recognizer, cuts, numbers[:count], rank, **loading)
        numbers = numbers[count:]


def _loaded(
    index: Index, recognizer: Recognizer, cuts: Iterator[list[list[Ids]]], numbers: range, rank: int, **loading: Any
) -> Iterator[Step]:
    """The steps of one window, read a step ahead."""
    ahead: list[list[list[Ids]]] = []  # cuts whose batches are still being read

    def own_passes() -> Iterator[list[Ids]]:
        for cut in cuts:
            ahead.append(cut)
            yield cut[rank]

    steps = load_steps(index, recognizer.vocabulary, own_passes(), **loading)
    for number in numbers:
        asked = time.perf_counter()
        own = next(steps)
        waiting_seconds = time.perf_counter() - asked
        passes = [utterances for passes in ahead.pop(0) for utterances in passes]
        yield Step(
            number,
            utterances=sum(map(len, passes)),
            audio_samples=sum(int(index.num_samples[utterances].sum()) for utterances in passes),
            padded_samples=sum(padded_samples(utterances, index.num_samples) for utterances in passes),
            batches=own.batches,
            damaged=own.damaged,
            index=index,
            waiting_seconds=waiting_seconds,
        )
