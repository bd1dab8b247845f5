"""The plan of a run: which shards are planned together, and which utterances of them are used.

Shapes: N utterances of a window, W windows.
"""

import os
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from asrscale.data.batches import MIN_BATCH_SAMPLES
from asrscale.data.catalog import Catalog
from asrscale.data.copies import Pieces, count_visits, cut_pieces, plan_visits
from asrscale.data.epoch_plan import EpochPlan, find_step, group_windows, window_steps
from asrscale.data.hashing import Ids, hash_keys
from asrscale.data.index import Index, read_shards
from asrscale.speech.frames import FrameGeometry, frames_needed
from asrscale.speech.pcm import SAMPLE_RATE_HZ, perturbed_length
from asrscale.speech.vocabulary import Vocabulary

# Half a gigabyte of index rows at most, and far more than a step, so that a window is a fair sample of the data.
WINDOW_HOURS = 300

SPEEDS_TENTHS = (9, 10, 11)  # Ko et al. 2015, "Audio augmentation for speech recognition"
ORIGINAL_SPEED_TENTHS = 10

FINGERPRINT_DIGITS = 16

# The rules by which utterances are put in order, each with those before it. A run keeps those that it began with.
BY_LENGTH = 1  # units are cut along the lengths
EQUAL_FRAMES = 2  # units have utterances of equal frames
EVEN_STEPS = 3  # the units of a step take about equal time

_SPEED_SALT = 11  # unlike the salts of epoch_plan
_SOUND_SALT = 12


@dataclass(frozen=True, eq=False)
class RunPlan:
    """What decides the order of the data, and nothing of the machine."""

    catalog: Catalog  # the training data
    vocabulary: Vocabulary  # labels the transcripts
    geometry: FrameGeometry  # of the model: how many frames it makes of an utterance
    pieces: Pieces  # of the shards, by their weights: without weights, the shards
    windows: tuple[Ids, ...]  # the numbers of the pieces of each window
    steps: Ids  # (W,) optimizer steps of each window
    seed: int  # the run's seed
    batch_samples: int  # padded audio of a unit
    units_per_step: int  # units of a step
    perturb_speed: bool  # whether an utterance is played at 0.9, 1.0 or 1.1 of its speed, drawn anew each epoch
    augmentation: str = ""  # a hash of what else is done to the sound, which changes no length
    rules: int = EVEN_STEPS  # older ones in a run that an older version began

    @property
    def fingerprint(self) -> str:
        """A hash that differs where the data do, or anything else that decides their order or their sound."""
        shard_names = [os.path.basename(shard) for shard in self.catalog.shards]
        samples = self.catalog.samples.tolist()
        utterances = self.catalog.utterances.tolist()
        settings = (self.seed, self.batch_samples, self.units_per_step, self.perturb_speed)
        decisive: tuple[object, ...] = (shard_names, samples, utterances, settings)
        if (self.catalog.weights != 1).any():
            decisive += (self.catalog.weights.tolist(),)
        if self.augmentation:
            decisive += (self.augmentation,)
        if self.rules >= EQUAL_FRAMES:
            decisive += (self.geometry.stem,)
        if self.rules > EQUAL_FRAMES:
            decisive += (self.rules,)
        return sha256(repr(decisive).encode()).hexdigest()[:FINGERPRINT_DIGITS]

    @property
    def longest_samples(self) -> int:
        """Samples of the longest utterance, at the slowest speed that may be drawn and as the loader pads it."""
        slowest_tenths = SPEEDS_TENTHS[0] if self.perturb_speed else ORIGINAL_SPEED_TENTHS
        longest = int(perturbed_length(self.catalog.longest_samples.max(), slowest_tenths))
        return max(MIN_BATCH_SAMPLES, longest)

    @property
    def slowdown(self) -> str:
        """What a message says after the length of the longest utterance: where that is slowed down, its own length."""
        if not self.perturb_speed:
            return ""
        recorded_seconds = self.catalog.longest_samples.max() / SAMPLE_RATE_HZ
        return f" ({recorded_seconds:.1f} s, at {SPEEDS_TENTHS[0] / 10:g} of its speed for --perturb_speed)"

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch, the same for every one."""
        return int(self.steps.sum())

    def most_utterances(self, cap_samples: int, world_size: int) -> int:
        """Returns how many of the longest utterances a pass may hold, at least 1.

        It holds at most `cap_samples`, and at most a unit or a rank's share of a step, whichever is larger.
        """
        share_of_step = self.batch_samples * self.units_per_step // world_size
        most_samples = min(cap_samples, max(self.batch_samples, share_of_step))
        return max(1, most_samples // self.longest_samples)


@dataclass(frozen=True, eq=False)
class Visit:
    """A window in an epoch: its utterances, their speeds, and the step of each.

    An utterance that the epoch visits several times is several utterances here.
    """

    index: Index  # its N utterances
    speeds_tenths: Ids | None  # (N,) at how many tenths of its speed each is played; None: all as recorded
    sound_keys: NDArray[np.uint64]  # (N,) from which follows what is done to the sound of each in this epoch
    played_samples: Ids  # (N,) the length of each at that speed
    computed_samples: Ids  # (N,) the length to which the loader pads one that is alone in its batch
    computed_frames: Ids  # (N,) the frames that the encoder gets of that
    plan: EpochPlan


def plan_run(
    catalog: Catalog,
    vocabulary: Vocabulary,
    geometry: FrameGeometry,
    *,
    seed: int,
    batch_seconds: float,
    units_per_step: int,
    perturb_speed: bool = False,
    augmentation: str = "",
) -> RunPlan:
    """Groups the shards into windows and counts their steps; reads no index."""
    batch_samples = int(batch_seconds * SAMPLE_RATE_HZ)
    window_samples = int(WINDOW_HOURS * 3600) * SAMPLE_RATE_HZ
    pieces = cut_pieces(catalog.weights)
    # All rows of a shard are read for a part of it, too.
    read_samples = catalog.samples[pieces.shards]
    windows = group_windows(read_samples, seed=seed, window_samples=window_samples)
    steps = window_steps(
        windows,
        pieces.samples(catalog),
        pieces.utterances(catalog),
        batch_samples=batch_samples,
        units_per_step=units_per_step,
    )
    return RunPlan(
        catalog=catalog,
        vocabulary=vocabulary,
        geometry=geometry,
        pieces=pieces,
        windows=windows,
        steps=steps,
        seed=seed,
        batch_samples=batch_samples,
        units_per_step=units_per_step,
        perturb_speed=perturb_speed,
        augmentation=augmentation,
    )


@lru_cache(maxsize=1)  # a run with one window reads it once
def read_window(plan: RunPlan, window: int) -> tuple[Index, Index]:
    """Reads the utterances of a window, each once.

    Returns:
        Those that can be trained on, and those that are too short for their transcript or have none.

    Raises:
        CliError: As `read_shards`.
    """
    shards = np.unique(plan.pieces.shards[plan.windows[window]])
    index = read_shards(plan.catalog, shards)
    fastest_tenths = SPEEDS_TENTHS[-1] if plan.perturb_speed else ORIGINAL_SPEED_TENTHS
    shortest = perturbed_length(index.num_samples, fastest_tenths)
    feasible = feasible_utterances(index, shortest, plan.vocabulary, plan.geometry)
    return index.take(np.flatnonzero(feasible)), index.take(np.flatnonzero(~feasible))


def feasible_utterances(
    index: Index, lengths: Ids, vocabulary: Vocabulary, geometry: FrameGeometry
) -> NDArray[np.bool_]:
    """Returns (N,) whether CTC can emit each transcript in the frames of `lengths`, (N,) samples."""
    frames = geometry.num_frames(lengths)
    # In either case, text has at most 1.5 characters a byte of UTF-8, which take two frames each: that decides for
    # nearly all speech that it is long enough, in milliseconds, where encoding the transcripts of a window takes
    # seconds.
    feasible: NDArray[np.bool_] = (index.text_bytes > 0) & (3 * index.text_bytes <= frames)
    for number in np.flatnonzero(~feasible).tolist():
        labels = vocabulary.encode(index.texts[number].as_py())
        feasible[number] = 0 < frames_needed(labels) <= frames[number]
    return feasible


def plan_visit(plan: RunPlan, number: int) -> Visit:
    """Reads and plans the window of step `number` (0-based, over all epochs).

    Raises:
        CliError: As `read_shards`.
    """
    epoch, window, _ = find_step(plan.steps, number, seed=plan.seed)
    index, _ = read_window(plan, window)
    own = plan.windows[window]
    visits = count_visits(plan.pieces, own, index.shard_ids, seed=plan.seed, epoch=epoch, window=window)
    if (visits != 1).any():
        index = index.take(np.repeat(np.arange(len(index)), visits))

    speeds_tenths = None
    played_samples = index.num_samples
    if plan.perturb_speed:
        speeds_tenths = draw_speeds(len(index), plan.seed, epoch, window)
        played_samples = perturbed_length(index.num_samples, speeds_tenths)

    computed_samples = np.maximum(played_samples, MIN_BATCH_SAMPLES)
    computed_frames = plan.geometry.num_encoder_frames(computed_samples)
    epoch_plan = plan_visits(
        computed_samples,
        visits,
        seed=plan.seed,
        epoch=epoch,
        window=window,
        steps=int(plan.steps[window]),
        units_per_step=plan.units_per_step,
        frames=computed_frames if plan.rules >= EQUAL_FRAMES else None,
        even_steps=plan.rules >= EVEN_STEPS,
    )
    return Visit(
        index=index,
        speeds_tenths=speeds_tenths,
        sound_keys=hash_keys(len(index), plan.seed, epoch, window, _SOUND_SALT),
        played_samples=played_samples,
        computed_samples=computed_samples,
        computed_frames=computed_frames,
        plan=epoch_plan,
    )


def draw_speeds(count: int, seed: int, epoch: int, window: int) -> Ids:
    """Returns (count,) speeds in tenths, one of SPEEDS_TENTHS for each utterance of a window, anew in each epoch."""
    keys = hash_keys(count, seed, epoch, window, _SPEED_SALT)
    drawn = keys % np.uint64(len(SPEEDS_TENTHS))
    return np.array(SPEEDS_TENTHS, np.int64)[drawn.astype(np.int64)]
