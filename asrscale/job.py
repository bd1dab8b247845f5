"""What a run is, what its settings make due at a step, and what it writes down about its steps.

    RUN/metrics.jsonl      a line every --log_steps, made by `Meter`
    RUN/quarantine.jsonl   the damaged utterances, with the reason
    RUN/skipped.jsonl      the steps whose gradient was not finite, with the keys of all their utterances
    RUN/ledger/            with --ledger, the keys that each rank visited in each step

What an attempt wrote of steps that are taken again is dropped.
"""

import math
import resource
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asrscale import engine as ds
from asrscale.audio import SAMPLE_RATE_HZ
from asrscale.checkpoint import RunState
from asrscale.config import TrainConfig
from asrscale.engine import World
from asrscale.errors import CliError
from asrscale.files import append_rows, keep_until, sync
from asrscale.index import Index
from asrscale.model import Recognizer
from asrscale.regularise import Regulariser
from asrscale.rescue import Cap
from asrscale.schedule import learning_rate_at
from asrscale.steps import RunPlan, Step
from asrscale.storage import Cache
from asrscale.tracking import METRICS_FILE, Values
from asrscale.watch import Watch

QUARANTINE_FILE, SKIPPED_FILE = "quarantine.jsonl", "skipped.jsonl"
LEDGER_FOLDER = "ledger"
MIN_DAMAGED = 10  # fewer say nothing about the share of damaged utterances


@dataclass(frozen=True)
class Job:
    """What stays the same from the first step to the last."""

    config: TrainConfig  # resolved settings
    world: World  # who this process is
    folder: Path  # the run folder
    recognizer: Recognizer  # the model being trained, which the engine wraps
    regulariser: Regulariser  # of that model
    plan: RunPlan  # the training data and their order
    valid: Index  # the subset that is transcribed while training
    total_steps: int  # length of the run
    watch: Watch  # tells when somebody wants the run to stop
    cap: Cap  # of the audio of a pass; the one thing here that changes
    predicted_bytes: float | None = None  # by torch's allocator, at most; None where nothing was planned
    cache: Cache | None = None  # where shards are copied to
    unwritten: dict[Path, str] = field(default_factory=dict)  # lines of records that a full disk did not take

    def is_over(self, state: RunState) -> bool:
        """Whether the run has had all its steps and evaluations, or has stopped improving."""
        ended = state.step >= self.total_steps and state.evaluated_step == state.step
        return ended or 0 < self.config.patience <= state.stale_evaluations

    def evaluation_is_due(self, state: RunState) -> bool:
        """Whether the model of this step is to be evaluated, and has not been."""
        due = state.step % self.config.eval_steps == 0 or state.step >= self.total_steps
        return due and state.evaluated_step < state.step

    @property
    def evaluating(self) -> dict[str, Any]:
        """What every evaluation of this run tells `evaluate`."""
        threads = self.config.decode_threads
        return dict(memory_cap_seconds=self.cap.seconds, threads=threads, cache=self.cache, watch=self.watch)

    def told_memory(self) -> str:
        """The cap, the peak that was predicted for it, and what there was so far on this rank's GPU."""
        peaks = {"predicted": self.predicted_bytes, "measured": torch.cuda.max_memory_allocated()}
        told = [f"{size / 2**30:.2f} GiB {how}" for how, size in peaks.items() if size]
        return ", ".join([f"passes of up to {self.cap.seconds:g} s", *told])

    def learning_rate(self, step: int) -> float:
        """The learning rate of a step."""
        rate, warmup = self.config.learning_rate, self.config.warmup_steps
        schedule, total = self.config.schedule, self.total_steps
        return learning_rate_at(step, schedule=schedule, peak=rate, warmup_steps=warmup, total_steps=total)


@dataclass
class Meter:
    """Adds up what one line of metrics.jsonl tells."""

    loss: Tensor | float = 0.0  # of the steps that are `counted`
    gradient_norm: float | None = None  # of the last step
    counts: Counter[str] = field(default_factory=Counter)  # of `steps`, those `counted` or `skipped`, samples …
    waiting_seconds: float = 0.0  # for data
    forward_seconds: float = 0.0  # on a GPU, of the host, which starts the work and may run ahead of it
    started: float = field(default_factory=time.perf_counter)

    def add(self, step: Step, damaged: int, loss: Tensor, gradient_norm: float | None, waiting_seconds: float) -> None:
        """Counts a step with `damaged` utterances on all ranks; `loss` is this rank's share of it.

        The norm is None where no utterance was good, and not finite where the step was skipped.
        """
        finite = gradient_norm is not None and math.isfinite(gradient_norm)
        skipped = gradient_norm is not None and not finite
        self.counts.update(steps=1, counted=finite, skipped=skipped, damaged=damaged)
        self.counts.update(audio=step.audio_samples, padded=step.padded_samples)
        self.gradient_norm = gradient_norm
        self.loss = self.loss + loss if finite else self.loss
        self.waiting_seconds += waiting_seconds

    @property
    def busy_seconds(self) -> float:
        """Of a step, what this rank does by itself: in the rest of it all wait for the slowest."""
        return (self.waiting_seconds + self.forward_seconds) / self.counts["steps"]

    def values(self, job: Job, state: RunState) -> Values:
        """The numbers since the meter was made, up to `state`; a collective."""
        seconds, counts, ranks = time.perf_counter() - self.started, self.counts, job.world.world_size
        host_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts it in KiB
        device_bytes = torch.cuda.max_memory_allocated()  # 0 without a GPU
        own = float(self.loss), self.waiting_seconds, self.busy_seconds, host_bytes, device_bytes
        loss, waiting, busy, host, device = zip(*ds.gather_objects(own, job.world), strict=True)
        slowest = max(range(ranks), key=busy.__getitem__)
        return {
            "train/loss": math.fsum(loss) / counts["counted"] if counts["counted"] else None,
            "train/learning_rate": job.learning_rate(state.step - 1),
            "train/gradient_norm": self.gradient_norm,
            "train/epoch": state.step / job.plan.steps_per_epoch,
            "train/audio_seconds_per_second": counts["audio"] / SAMPLE_RATE_HZ / seconds,
            "train/padding": 1 - counts["audio"] / max(1, counts["padded"]),
            "train/damaged": counts["damaged"],
            "train/skipped": counts["skipped"],
            "train/waiting": math.fsum(waiting) / ranks / seconds,
            "speed/step_seconds": seconds / counts["steps"],
            "speed/rank_seconds": busy,
            "speed/slowest_rank": slowest,
            "speed/slowest_rank_behind_seconds": busy[slowest] - math.fsum(busy) / ranks,
            "memory/host_bytes": max(host),
            "memory/device_bytes": max(device),
            "memory/predicted_bytes": job.predicted_bytes,
            "memory/cap_seconds": job.cap.seconds,
            "run/restarts": state.restarts,
            "run/rescues": job.cap.rescues,
        }


def open_records(job: Job, steps_done: int) -> int:
    """Drops what the records say of steps that will be taken again; returns how many damaged utterances are left there.

    A collective.
    """
    damaged = 0
    if job.world.is_main:
        for path in (job.folder / SKIPPED_FILE, *(job.folder / LEDGER_FOLDER).glob("*.jsonl")):
            keep_until(path, steps_done)
        damaged = keep_until(job.folder / QUARANTINE_FILE, steps_done)
    return round(ds.all_reduce_sum([damaged], job.world)[0])


def record_visits(job: Job, step: Step) -> None:
    """Appends the keys of this rank's utterances to RUN/ledger: proof of what was visited, for whoever asks."""
    path = job.folder / LEDGER_FOLDER / f"rank-{job.world.rank:05d}.jsonl"
    append_rows(path, [{"step": step.number + 1, "keys": own_keys(step)}], job.unwritten)


def sync_records(job: Job) -> None:
    """Makes what was written of the steps so far survive a power cut, as their checkpoint will; a collective."""
    for path in list(job.unwritten):
        append_rows(path, [], job.unwritten)
    shared = (QUARANTINE_FILE, SKIPPED_FILE, METRICS_FILE) if job.world.is_main else ()
    for name in (*shared, f"{LEDGER_FOLDER}/rank-{job.world.rank:05d}.jsonl"):
        with suppress(OSError):  # many have none
            sync(job.folder / name)
    ds.barrier()


def own_keys(step: Step) -> list[str]:
    """The keys of this rank's good utterances."""
    return [step.index.keys[int(number)].as_py() for batch in step.batches for number in batch.utterances]


def count_skipped(job: Job, step: Step, state: RunState, gradient_norm: float | None) -> int:
    """How many steps in a row, up to this one, had no finite gradient; a collective.

    Such a step is written to RUN/skipped.jsonl, with the keys of all ranks.

    Raises:
        FloatingPointError: As many as --max_skipped_steps, where no loss scale is being searched for.
    """
    if gradient_norm is None or math.isfinite(gradient_norm):
        return 0
    keys = sorted(key for part in ds.gather_objects(own_keys(step), job.world) for key in part)
    if job.world.is_main:
        append_rows(job.folder / SKIPPED_FILE, [_where(job, step) | {"keys": keys}], job.unwritten)
    count = state.skipped_steps + 1
    if count >= job.config.max_skipped_steps and job.config.precision != "fp16":
        raise FloatingPointError(
            f"{count} steps in a row, up to step {step.number + 1}, have no finite gradient and changed no weight: "
            f"their utterances are in {job.folder / SKIPPED_FILE}; try a lower --learning_rate"
        )
    return count


def quarantine(job: Job, step: Step, damaged_so_far: int, visited: int) -> None:
    """Writes the damaged utterances of a step, of all ranks, to RUN/quarantine.jsonl; a collective.

    `damaged_so_far` and `visited` count the utterances of all steps up to this one, once for each epoch.

    Raises:
        CliError: The damaged are more than --max_bad_fraction of the visited.
    """
    path, index = job.folder / QUARANTINE_FILE, step.index
    gathered = ds.gather_objects(step.damaged, job.world)
    if job.world.is_main:
        rows = []
        for number, reason in sorted((one.utterance, one.reason) for part in gathered for one in part):
            what = {"shard": index.shards[index.shard_ids[number]], "key": index.keys[number].as_py()}
            rows.append(_where(job, step) | what | {"reason": reason})
        append_rows(path, rows, job.unwritten)
    if damaged_so_far >= MIN_DAMAGED and damaged_so_far > job.config.max_bad_fraction * visited:
        ds.barrier()  # the launcher ends the other ranks with the first: let rank 0 finish its lines
        raise CliError(
            f"{damaged_so_far:,} of {visited:,} utterances are damaged, listed in {path}: copy or build their shards "
            "again, or raise --max_bad_fraction"
        )


def _where(job: Job, step: Step) -> dict[str, Any]:
    return {"step": step.number + 1, "epoch": step.number // job.plan.steps_per_epoch}
