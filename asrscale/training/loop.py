"""The training loop: steps, evaluations, checkpoints."""

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from asrscale.common import distributed
from asrscale.common.errors import CliError, Stopped
from asrscale.common.progress import Progress, progress
from asrscale.data.step_reader import Step, steps_from
from asrscale.results.evaluation import evaluate
from asrscale.results.predictions import predictions
from asrscale.training import engine as ds
from asrscale.training.checkpoint import RunState, restore_engine, save_checkpoint
from asrscale.training.engine import Engine
from asrscale.training.meter import Meter
from asrscale.training.records import count_skipped, open_records, quarantine, record_visits, sync_records
from asrscale.training.run_context import RunContext
from asrscale.training.step import rehearse, train_step
from asrscale.training.tracking import Tracker

SAMPLE_PREDICTIONS = 20  # recorded after each evaluation


def fit(
    job: RunContext, state: RunState, resumed: Path | None, ds_config: dict[str, Any], tracker: Tracker
) -> RunState:
    """Trains from `state` to the end, evaluating and saving on the way; returns where the run stands then.

    The model has the weights of the checkpoint `resumed`, where `state` comes from one; DeepSpeed gets `ds_config`.

    Raises:
        CliError: The last checkpoint cannot be written.
        Stopped: A rank was asked to stop; all are here, and what was done is saved.
    """
    config, world, model = job.config, job.world, job.recognizer.model
    # DeepSpeed casts frozen weights too; checkpoints keep them as they were.
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    engine = ds.initialize(
        model.to(world.device),
        ds_config,
        weight_decay=config.optimisation.weight_decay,
        adam_beta2=config.optimisation.adam_beta2,
    )
    rehearse(engine, job)
    if resumed is not None:
        restore_engine(engine, resumed, world)
    saved, failed_saves = state, 0

    def save(bar: Progress, *, needed: bool) -> None:
        nonlocal state, saved, failed_saves
        if state == saved:
            return
        job.watch.beat("saving")
        sync_records(job)  # first: a checkpoint must not know of steps that they do not
        problem = save_checkpoint(
            engine, frozen, state, job.folder, keep=config.evaluation.save_total_limit, world=world
        )
        if problem is None:
            saved = state
            return
        line = f"step {state.step:,} cannot be saved ({problem}); the checkpoint of step {saved.step:,} stands"
        if needed:
            raise CliError(f"{line}: make room in {job.folder}, and start again with the same command")
        # The weights of a new best are gone with the next step: what counts is the best that is on the disk.
        state = replace(state, best=saved.best, best_step=saved.best_step)
        failed_saves += 1
        tracker.log(state.step, {"run/failed_saves": failed_saves})
        bar.write(f"warning: {line}, and the run goes on")

    with progress(job.total_steps, "training", "steps", done=state.step, enabled=world.is_main) as bar:
        try:
            if job.evaluation_is_due(state):  # a stop cut it short
                state = evaluate_and_judge(engine, job, state, tracker, bar)
                save(bar, needed=job.is_over(state))
            for reached in () if job.is_over(state) else take_steps(engine, job, state, tracker, bar):
                state = replace(state, **reached)
                if job.evaluation_is_due(state):
                    state = evaluate_and_judge(engine, job, state, tracker, bar)
                if (
                    state.step % config.evaluation.save_steps == 0
                    or state.step == state.best_step
                    or job.is_over(state)
                ):
                    save(bar, needed=job.is_over(state))
                if job.is_over(state):
                    break
            save(bar, needed=True)
        except Stopped:
            save(bar, needed=True)
            bar.write(f"stopped on request after step {state.step:,}; the same command goes on")
            raise
        if state.step < job.total_steps:
            bar.write(
                f"no better WER in {config.evaluation.patience} evaluations: stopped early after step {state.step:,}"
            )
    engine.destroy()
    return state


def take_steps(
    engine: Engine, job: RunContext, state: RunState, tracker: Tracker, bar: Progress
) -> Iterator[dict[str, Any]]:
    """Takes the steps that are left; yields what each changes of where the run stands.

    Raises:
        FloatingPointError: Too many steps in a row had no finite gradient.
        Stopped: A rank was asked to stop; told before a step is begun, on all ranks alike.
    """
    config, world = job.config, job.world
    meter, note = Meter(), ""
    damaged_so_far = open_records(job, state.step)
    steps = steps_from(
        job.plan, range(state.step, job.total_steps), rank=world.rank, world_size=world.world_size,
        cap_samples=job.cap.samples, threads=config.data.decode_threads,
        pin=world.device.type == "cuda", cache=job.cache,
    )  # fmt: skip
    engine.train()
    asked = time.perf_counter()
    for step in steps:
        waiting_seconds = time.perf_counter() - asked
        good, damaged = count_utterances(job, step)
        damaged_so_far += damaged
        if damaged:
            quarantine(job, step, damaged_so_far, state.visited + step.utterances)
        loss, gradient_norm = train_step(engine, job, step, good, meter)
        meter.add(step, damaged, loss, gradient_norm, waiting_seconds)
        job.watch.busy_seconds = meter.busy_seconds
        if config.tracking.ledger:
            record_visits(job, step)
        visited, skipped_steps = state.visited + step.utterances, count_skipped(job, step, state, gradient_norm)
        reached: dict[str, Any] = dict(step=step.number + 1, visited=visited, skipped_steps=skipped_steps)
        state = replace(state, **reached)
        if state.step % config.tracking.log_steps == 0 or state.step == job.total_steps:
            values = meter.values(job, state)
            tracker.log(state.step, values)
            loss_shown = "none" if values["train/loss"] is None else f"{values['train/loss']:.3f}"
            note = f"loss {loss_shown}, {values['train/audio_seconds_per_second']:.0f}× real time"
            meter = Meter()
        bar.advance(note=note)
        asked = time.perf_counter()
        yield reached
        meter.started += time.perf_counter() - asked
        asked = time.perf_counter()
        job.watch.beat("loading")


def count_utterances(job: RunContext, step: Step) -> tuple[int, int]:
    """How many utterances of a step are good and how many are damaged, on all ranks; Stopped where one was asked to."""
    own, stop = sum(len(batch.utterances) for batch in step.batches), job.watch.beat("training", step.number + 1)
    good, damaged, stopping = map(round, distributed.all_reduce_sum([own, len(step.damaged), stop], job.world))
    if stopping:
        raise Stopped
    return good, damaged


def evaluate_and_judge(engine: Engine, job: RunContext, state: RunState, tracker: Tracker, bar: Progress) -> RunState:
    """Transcribes the validation subset, records the result, and compares it with the best so far."""
    result = evaluate(engine, job.recognizer, job.valid, job.world, title=None, **job.evaluating)
    engine.train()
    wer = result.errors.wer
    score = (wer, result.errors.cer, math.inf if result.loss is None else result.loss)
    better = state.best is None or score < state.best
    tracker.log(state.step, {"valid/wer": wer, "valid/cer": result.errors.cer, "valid/loss": result.loss})
    tracker.log_predictions(state.step, list(islice(predictions(job.valid, result.hypotheses()), SAMPLE_PREDICTIONS)))
    bar.write(f"step {state.step:,}: WER {wer:.2%}, CER {result.errors.cer:.2%}{', the best so far' if better else ''}")
    state = replace(state, stale_evaluations=state.stale_evaluations + 1, evaluated_step=state.step)
    return replace(state, best=score, best_step=state.step, stale_evaluations=0) if better else state
