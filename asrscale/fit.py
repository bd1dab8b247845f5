"""The training loop: steps, evaluations, checkpoints."""

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asrscale import engine as ds
from asrscale.audio import SAMPLE_RATE_HZ
from asrscale.checkpoint import RunState, restore_engine, save_checkpoint
from asrscale.config import TrainConfig
from asrscale.engine import Engine, World
from asrscale.errors import CliError, Stopped
from asrscale.evaluate import evaluate
from asrscale.index import Index
from asrscale.loader import Batch, collate
from asrscale.model import Recognizer, count_frames, ctc_losses, forward_logits
from asrscale.progress import Progress, progress
from asrscale.regularise import Regulariser, prepare_pass
from asrscale.schedule import learning_rate_at
from asrscale.steps import RunPlan, Step, steps_from
from asrscale.storage import Cache
from asrscale.tracking import Tracker, write_rows
from asrscale.watch import Watch

SAMPLE_PREDICTIONS = 20  # recorded after each evaluation
QUARANTINE_FILE, LEDGER_FOLDER = "quarantine.jsonl", "ledger"
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
    cache: Cache | None = None  # where shards are copied to


@dataclass
class Meter:
    """Adds up what one line of metrics.jsonl tells."""

    loss: Tensor | float = 0.0
    gradient_norm: float | None = None
    steps: int = 0
    damaged: int = 0
    audio_samples: int = 0
    padded_samples: int = 0
    waiting_seconds: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    def add(self, step: Step, damaged: int, loss: Tensor, gradient_norm: float | None, waiting_seconds: float) -> None:
        """Counts a step with `damaged` utterances on all ranks; `loss` is this rank's share of it."""
        self.loss = self.loss + loss
        self.gradient_norm = gradient_norm
        self.steps += damaged < step.utterances  # one without a good utterance has no loss
        self.damaged += damaged
        self.audio_samples += step.audio_samples
        self.padded_samples += step.padded_samples
        self.waiting_seconds += waiting_seconds

    def values(self, job: Job, steps_done: int) -> dict[str, float | None]:
        """The numbers since the meter was made; a collective."""
        seconds = time.perf_counter() - self.started
        loss, waiting_seconds = ds.all_reduce_sum([float(self.loss), self.waiting_seconds], job.world)
        return {
            "train/loss": loss / self.steps if self.steps else None,
            "train/learning_rate": learning_rate(job, steps_done - 1),
            "train/gradient_norm": self.gradient_norm,
            "train/epoch": steps_done / job.plan.steps_per_epoch,
            "train/audio_seconds_per_second": self.audio_samples / SAMPLE_RATE_HZ / seconds,
            "train/padding": 1 - self.audio_samples / max(1, self.padded_samples),
            "train/damaged": self.damaged,
            "train/waiting": waiting_seconds / job.world.world_size / seconds,
        }


def is_over(job: Job, state: RunState) -> bool:
    """Whether the run has had all its steps and evaluations, or has stopped improving."""
    ended = state.step >= job.total_steps and state.evaluated_step == state.step
    return ended or 0 < job.config.patience <= state.stale_evaluations


def fit(job: Job, state: RunState, resumed: Path | None, ds_config: dict[str, Any], tracker: Tracker) -> RunState:
    """Trains from `state` to the end, evaluating and saving on the way.

    Args:
        job: The run.
        state: Where it stands.
        resumed: The checkpoint that `state` comes from; the model has its weights already.
        ds_config: What DeepSpeed gets.
        tracker: Takes the numbers.

    Returns:
        Where the run stands at its end.

    Raises:
        Stopped: A rank was asked to stop; all are here, and what was done is saved.
    """
    config, world, model = job.config, job.world, job.recognizer.model
    # DeepSpeed casts frozen weights too; checkpoints keep them as they were.
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    engine = ds.initialize(
        model.to(world.device), ds_config, weight_decay=config.weight_decay, adam_beta2=config.adam_beta2
    )
    if resumed is not None:
        take_empty_step(engine, job)
        restore_engine(engine, resumed, world)
    saved = state

    def save() -> None:
        nonlocal saved
        if state != saved:
            job.watch.beat("saving")
            save_checkpoint(engine, frozen, state, job.folder, keep=config.save_total_limit, world=world)
            saved = state

    with progress(job.total_steps, "training", "steps", done=state.step, enabled=world.is_main) as bar:
        try:
            if evaluation_is_due(job, state):  # a stop cut it short
                state = evaluate_and_judge(engine, job, state, tracker, bar)
            for reached in take_steps(engine, job, state, tracker, bar):
                state = replace(state, step=reached.step, visited=reached.visited)
                if evaluation_is_due(job, state):
                    state = evaluate_and_judge(engine, job, state, tracker, bar)
                if state.step % config.save_steps == 0 or state.step == state.best_step or is_over(job, state):
                    save()
                if is_over(job, state):
                    break
            save()
        except Stopped:
            save()
            bar.write(f"stopped on request after step {state.step:,}; the same command goes on")
            raise
        if state.step < job.total_steps:
            bar.write(f"no better WER in {config.patience} evaluations: stopped early after step {state.step:,}")
    engine.destroy()
    return state


def evaluation_is_due(job: Job, state: RunState) -> bool:
    """Whether the model of this step is to be evaluated, and has not been."""
    due = state.step % job.config.eval_steps == 0 or state.step >= job.total_steps
    return due and state.evaluated_step < state.step


def take_steps(engine: Engine, job: Job, state: RunState, tracker: Tracker, bar: Progress) -> Iterator[RunState]:
    """Takes the steps that are left; yields `step` and `visited` of where the run stands after each.

    Raises:
        Stopped: A rank was asked to stop; told before a step is begun, on all ranks alike.
    """
    config, world = job.config, job.world
    meter, note = Meter(), ""
    damaged_so_far = open_records(job, state.step)
    steps = steps_from(
        job.plan,
        job.recognizer,
        range(state.step, job.total_steps),
        rank=world.rank,
        world_size=world.world_size,
        cap_samples=int(config.memory_cap_seconds * SAMPLE_RATE_HZ),
        threads=config.decode_threads,
        pin=world.device.type == "cuda",
        cache=job.cache,
    )
    engine.train()
    asked = time.perf_counter()
    for step in steps:
        waiting_seconds = time.perf_counter() - asked
        good, damaged = count_utterances(job, step)
        damaged_so_far += damaged
        if damaged:
            quarantine(job, step, damaged_so_far, state.visited + step.utterances)
        loss, gradient_norm = train_step(engine, job, step, good)
        meter.add(step, damaged, loss, gradient_norm, waiting_seconds)
        if config.ledger:
            record_visits(job, step)
        state = replace(state, step=step.number + 1, visited=state.visited + step.utterances)
        if state.step % config.log_steps == 0 or state.step == job.total_steps:
            values = meter.values(job, state.step)
            tracker.log(state.step, values)
            loss_shown = "none" if values["train/loss"] is None else f"{values['train/loss']:.3f}"
            note = f"loss {loss_shown}, {values['train/audio_seconds_per_second']:.0f}× real time"
            meter = Meter()
        bar.advance(note=note)
        asked = time.perf_counter()
        yield state
        meter.started += time.perf_counter() - asked
        asked = time.perf_counter()


def count_utterances(job: Job, step: Step) -> tuple[int, int]:
    """How many utterances of a step are good and how many are damaged, on all ranks; a collective.

    Raises:
        Stopped: A rank was asked to stop.
    """
    own = sum(len(batch.utterances) for batch in step.batches), len(step.damaged), job.watch.beat("training")
    good, damaged, stopping = map(round, ds.all_reduce_sum(own, job.world))
    if stopping:
        raise Stopped
    return good, damaged


def open_records(job: Job, steps_done: int) -> int:
    """Drops what RUN/quarantine.jsonl and RUN/ledger say of steps that will be taken again; a collective.

    Returns:
        How many damaged utterances the steps before have met.
    """
    damaged = 0
    if job.world.is_main:
        for path in (job.folder / LEDGER_FOLDER).glob("*.jsonl"):
            _keep_until(path, steps_done)
        damaged = _keep_until(job.folder / QUARANTINE_FILE, steps_done)
    return round(ds.all_reduce_sum([damaged], job.world)[0])


def _keep_until(path: Path, steps_done: int) -> int:
    """Drops the lines of later steps, and one torn by a kill; returns how many are left."""
    if not path.exists():
        return 0
    whole = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("}\n")]
    rows = [row for row in map(json.loads, whole) if row["step"] <= steps_done]
    write_rows(path, rows)
    return len(rows)


def record_visits(job: Job, step: Step) -> None:
    """Appends the keys of this rank's utterances to RUN/ledger: proof of what was visited, for whoever asks."""
    path = job.folder / LEDGER_FOLDER / f"rank-{job.world.rank:05d}.jsonl"
    path.parent.mkdir(exist_ok=True)
    keys = [step.index.keys[int(number)].as_py() for batch in step.batches for number in batch.utterances]
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step.number + 1, "keys": keys}, ensure_ascii=False) + "\n")


def quarantine(job: Job, step: Step, damaged_so_far: int, visited: int) -> None:
    """Writes the damaged utterances of a step, of all ranks, to RUN/quarantine.jsonl; a collective.

    `damaged_so_far` and `visited` count the utterances of all steps up to this one, once for each epoch.

    Raises:
        CliError: The damaged are more than --max_bad_fraction of the visited.
    """
    path, index = job.folder / QUARANTINE_FILE, step.index
    gathered = ds.gather_objects(step.damaged, job.world)
    if job.world.is_main:
        where = {"step": step.number + 1, "epoch": step.number // job.plan.steps_per_epoch}
        with path.open("a", encoding="utf-8") as file:
            for number, reason in sorted((one.utterance, one.reason) for part in gathered for one in part):
                what = {"shard": index.shards[index.shard_ids[number]], "key": index.keys[number].as_py()}
                file.write(json.dumps(where | what | {"reason": reason}, ensure_ascii=False) + "\n")
    if damaged_so_far >= MIN_DAMAGED and damaged_so_far > job.config.max_bad_fraction * visited:
        ds.barrier()  # the launcher ends the other ranks with the first: let rank 0 finish its lines
        raise CliError(
            f"{damaged_so_far:,} of {visited:,} utterances are damaged, listed in {path}: copy or build their "
            "shards again, or raise --max_bad_fraction"
        )


def train_step(engine: Engine, job: Job, step: Step, good: int) -> tuple[Tensor, float | None]:
    """One optimizer step over the `good` utterances of all ranks; without any, no weight is touched.

    Returns:
        This rank's share of the step's loss (their sum is the mean over its utterances), and the gradient's norm.

    Raises:
        FloatingPointError: The gradient is not finite, where no loss scale is being searched for.
    """
    total = torch.zeros((), device=job.world.device)
    if not good:
        return total, None
    for batch in step.batches:
        prepare_pass(job.regulariser, job.recognizer.model, batch, seed=job.config.seed, step=step.number)
        share = loss_sum(engine, job.recognizer, batch.to(job.world.device)) / good
        ds.backward(engine, share, job.world)
        total += share.detach()
    head_only = step.number < job.config.freeze_steps
    norm = ds.take_step(engine, learning_rate(job, step.number), head_only=head_only)
    if norm is not None and not math.isfinite(norm) and job.config.precision != "fp16":
        raise FloatingPointError(f"the gradient of step {step.number} is not finite; nothing of it was saved")
    return total, norm


def take_empty_step(engine: Engine, job: Job) -> None:
    """A step that changes no weight but makes the optimizer's states exist."""
    nobody = collate(job.valid, job.recognizer.vocabulary, np.zeros(0, np.int64), {})
    prepare_pass(job.regulariser, job.recognizer.model, nobody, seed=job.config.seed, step=0)
    ds.backward(engine, loss_sum(engine, job.recognizer, nobody.to(job.world.device)), job.world)
    ds.take_step(engine, 0.0)


def loss_sum(engine: Engine, recognizer: Recognizer, batch: Batch) -> Tensor:
    """The summed loss of a pass: CTC loss over label length of each utterance; 0 for an empty pass."""
    logits = forward_logits(engine, recognizer, batch.waveforms, batch.num_samples)
    num_frames = count_frames(recognizer.model, batch.num_samples)
    losses = ctc_losses(logits, num_frames, batch.labels, batch.num_labels, recognizer.vocabulary.blank_id)
    return losses.sum() * (1.0 if len(batch.utterances) else 0.0)


def learning_rate(job: Job, step: int) -> float:
    """The learning rate of a step."""
    config = job.config
    return learning_rate_at(
        step,
        schedule=config.schedule,
        peak=config.learning_rate,
        warmup_steps=config.warmup_steps,
        total_steps=job.total_steps,
    )


def evaluate_and_judge(engine: Engine, job: Job, state: RunState, tracker: Tracker, bar: Progress) -> RunState:
    """Transcribes the validation subset, records the result, and compares it with the best so far."""
    result = evaluate(
        engine,
        job.recognizer,
        job.valid,
        job.world,
        memory_cap_seconds=job.config.memory_cap_seconds,
        threads=job.config.decode_threads,
        title=None,
        cache=job.cache,
        watch=job.watch,
    )
    engine.train()
    wer = result.errors.wer
    score = (wer, result.errors.cer, math.inf if result.loss is None else result.loss)
    better = state.best is None or score < state.best
    tracker.log(state.step, {"valid/wer": wer, "valid/cer": result.errors.cer, "valid/loss": result.loss})
    tracker.log_predictions(state.step, [vars(prediction) for prediction in result.predictions[:SAMPLE_PREDICTIONS]])
    bar.write(f"step {state.step:,}: WER {wer:.2%}, CER {result.errors.cer:.2%}{', the best so far' if better else ''}")
    if better:
        return replace(state, best=score, best_step=state.step, stale_evaluations=0, evaluated_step=state.step)
    return replace(state, stale_evaluations=state.stale_evaluations + 1, evaluated_step=state.step)
