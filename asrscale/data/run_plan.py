"""The plan of a run: which shards are planned together, and which utterances of them are used."""

import os
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from asrscale.data import epoch_plan, hashing
from asrscale.data.batches import MIN_BATCH_SAMPLES
from asrscale.data.catalog import Catalog
from asrscale.data.hashing import Ids
from asrscale.data.index import Index, read_shards
from asrscale.speech.frames import ConvStem, frames_needed
from asrscale.speech.pcm import SAMPLE_RATE_HZ, perturbed_length
from asrscale.speech.vocabulary import Vocabulary

# Half a gigabyte of index rows at most, and far more than a step, so that a window is a fair sample of the data.
WINDOW_HOURS = 300


SPEEDS_TENTHS = (9, 10, 11)  # Ko et al. 2015, "Audio augmentation for speech recognition"


_SPEED_SALT = 11


@dataclass(frozen=True, eq=False)
class RunPlan:
    """What decides the order of the data, and nothing of the machine."""

    catalog: Catalog  # the training data
    vocabulary: Vocabulary  # labels the transcripts
    stem: ConvStem  # of the model: how many frames it makes of an utterance
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
    plan: epoch_plan.EpochPlan


def plan_run(
    catalog: Catalog,
    vocabulary: Vocabulary,
    stem: ConvStem,
    *,
    seed: int,
    batch_seconds: float,
    units_per_step: int,
    perturb_speed: bool = False,
) -> RunPlan:
    """Groups the shards into windows and counts their steps; reads no index."""
    batch_samples = int(batch_seconds * SAMPLE_RATE_HZ)
    window_samples = int(WINDOW_HOURS * 3600) * SAMPLE_RATE_HZ
    windows = epoch_plan.group_windows(catalog.samples, seed=seed, window_samples=window_samples)
    steps = epoch_plan.window_steps(
        windows, catalog.samples, catalog.utterances, batch_samples=batch_samples, units_per_step=units_per_step
    )
    return RunPlan(
        catalog=catalog,
        vocabulary=vocabulary,
        stem=stem,
        windows=windows,
        steps=steps,
        seed=seed,
        batch_samples=batch_samples,
        units_per_step=units_per_step,
        perturb_speed=perturb_speed,
    )


@lru_cache(maxsize=1)  # a run with one window reads it once
def read_window(plan: RunPlan, window: int) -> tuple[Index, Index]:
    """The utterances of a window that can be trained on, and those that are too short for their transcript."""
    index = read_shards(plan.catalog, plan.windows[window])
    fastest = SPEEDS_TENTHS[-1] if plan.perturb_speed else 10
    shortest = perturbed_length(index.num_samples, fastest)
    feasible = feasible_utterances(index, shortest, plan.vocabulary, plan.stem)
    return index.take(np.flatnonzero(feasible)), index.take(np.flatnonzero(~feasible))


def feasible_utterances(index: Index, lengths: Ids, vocabulary: Vocabulary, stem: ConvStem) -> NDArray[np.bool_]:
    """(N,) whether CTC can emit the transcript in `lengths` samples."""
    have = stem.num_frames(lengths)
    # In either case, text has at most 1.5 characters a byte of UTF-8, which take two frames each: that tells of nearly
    # all speech that it is long enough, in milliseconds, where encoding the transcripts of a window takes seconds.
    feasible: NDArray[np.bool_] = (index.text_bytes > 0) & (3 * index.text_bytes <= have)
    for number in np.flatnonzero(~feasible).tolist():
        needed = frames_needed(vocabulary.encode(index.texts[number].as_py()))
        feasible[number] = 0 < needed <= have[number]
    return feasible


def plan_visit(plan: RunPlan, number: int) -> Visit:
    """Reads and plans the window that step `number` of a run is in."""
    epoch, window, _ = epoch_plan.find_step(plan.steps, number, seed=plan.seed)
    index, _ = read_window(plan, window)
    speeds = draw_speeds(len(index), plan.seed, epoch, window) if plan.perturb_speed else None
    heard = index.num_samples if speeds is None else perturbed_length(index.num_samples, speeds)
    computed = np.maximum(heard, MIN_BATCH_SAMPLES)
    size = dict(steps=int(plan.steps[window]), units_per_step=plan.units_per_step)
    planned = epoch_plan.plan_window(computed, seed=plan.seed, epoch=epoch, window=window, **size)
    return Visit(index, speeds, heard, computed, planned)


def draw_speeds(count: int, seed: int, epoch: int, window: int) -> Ids:
    """(count,) speed of each utterance of a window in tenths: a function of seed, epoch and utterance."""
    drawn = hashing.hash_keys(count, seed, epoch, window, _SPEED_SALT) % np.uint64(len(SPEEDS_TENTHS))
    return np.array(SPEEDS_TENTHS, np.int64)[drawn.astype(np.int64)]
