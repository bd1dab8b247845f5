"""The training loop: steps, evaluations, checkpoints."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import Tensor

from asrscale.augmentation.augment import augment
from asrscale.common.errors import OutOfTime, Stopped
from asrscale.common.progress import progress
from asrscale.data.step_reader import Step, steps_from
from asrscale.model.compiling import compile_errors_explained
from asrscale.training import engine as ds
from asrscale.training.agreed_steps import AgreedSteps
from asrscale.training.checkpoint import RunState, restore_engine
from asrscale.training.engine import Engine
from asrscale.training.meter import Meter
from asrscale.training.optimizer import trainable_parameters
from asrscale.training.records import count_skipped, open_records, quarantine, record_unaugmented, record_visits
from asrscale.training.run_context import RunContext
from asrscale.training.run_progress import RunProgress
from asrscale.training.run_report import write_report
from asrscale.training.saving import Saver
from asrscale.training.step import rehearse, train_step
from asrscale.training.time_limit import seconds_since_start
from asrscale.training.tracking import Tracker, Values
from asrscale.training.validation import validate


def fit(context: RunContext, state: RunState, resumed: Path | None, tracker: Tracker) -> RunState:
    """Trains from `state` to the end, evaluating and saving on the way.

    Args:
        context: The run; its model has the weights of `resumed`.
        state: Where the run starts.
        resumed: The checkpoint that `state` comes from, or None at the beginning.
        tracker: Takes the metrics.

    Returns:
        The state at the end.

    Raises:
        CliError: The last checkpoint cannot be written, or memory does not suffice.
        FloatingPointError: Too many steps in a row had no finite gradient.
        Stopped: A rank was asked to stop; all ranks raise it, and what was done is saved.
    """
    # DeepSpeed casts frozen weights too; checkpoints keep them as they were.
    frozen = _frozen_weights(context)
    engine = _start_engine(context, resumed)
    with progress(
        context.total_steps,
        "training",
        "steps",
        done=state.step,
        enabled=context.world.is_main,
        shows_time_left=False,
    ) as bar:
        shown = RunProgress(context, bar, state)
        meter = Meter(before=state.unlogged)
        saver = Saver(engine, frozen, context, tracker, bar, meter, saved=state)
        try:
            if context.evaluation_is_due(state):  # before the first step, or a stop cut it short
                state = _evaluate(engine, context, state, tracker, shown)
                state = _save(saver, state, shown, required=context.is_over(state))
            if not context.is_over(state):
                for position in take_steps(engine, context, state, meter, tracker, shown):
                    state = position.added_to(state)
                    if context.evaluation_is_due(state):
                        state = _evaluate(engine, context, state, tracker, shown)
                    is_over = context.is_over(state)
                    if context.save_is_due(state):
                        state = _save(saver, state, shown, required=is_over)
                    if is_over:
                        break
            state = saver.save(state, required=True)
        except Stopped:
            saver.save(state, required=True)
            bar.write(f"stopped on request after step {state.step:,}; the same command goes on")
            raise
        if state.is_out_of_time:
            minutes = context.config.batching.max_minutes
            bar.write(f"--max_minutes {minutes:g} are over: stopped after step {state.step:,}")
        elif state.step < context.total_steps:
            patience = context.config.evaluation.patience
            metric = context.metric.upper()
            bar.write(f"no better {metric} in {patience} evaluations: stopped early after step {state.step:,}")
    engine.destroy()
    context.recognizer.model.zero_grad(set_to_none=True)  # at stage 0 the gradients are kept from step to step
    return state


def _evaluate(engine: Engine, context: RunContext, state: RunState, tracker: Tracker, shown: RunProgress) -> RunState:
    """Evaluates the model of `state` and writes the report, and measures how long that takes; see `validate`."""
    started = time.perf_counter()
    state = validate(engine, context, state, tracker, shown.bar)
    write_report(context, state)
    shown.evaluated(state, time.perf_counter() - started)
    return state


def _save(saver: Saver, state: RunState, shown: RunProgress, *, required: bool) -> RunState:
    """Saves `state`, and measures how long that takes; see `Saver.save`."""
    started = time.perf_counter()
    saved_before = saver.saved
    state = saver.save(state, required=required)
    if saver.saved is not saved_before:
        shown.saved(time.perf_counter() - started)
    return state


def _frozen_weights(context: RunContext) -> dict[str, Tensor]:
    """Copies of the weights that are not trained, by name, with the statistics of batch norms among them."""
    model = context.recognizer.model
    trained = {name for name, _ in trainable_parameters(model)}
    return {name: weight.clone() for name, weight in model.state_dict().items() if name not in trained}


def _start_engine(context: RunContext, resumed: Path | None) -> Engine:
    """Wraps the model in DeepSpeed, with the moments and the average of the checkpoint `resumed` if there is one."""
    engine = ds.initialize(
        context.recognizer.model.to(context.world.device),
        context.ds_config,
        weight_decay=context.config.optimisation.weight_decay,
        adam_beta2=context.config.optimisation.adam_beta2,
    )
    with compile_errors_explained(context.recognizer.model.config.model_type):
        rehearse(engine, context)
    if context.config.optimisation.ema:
        ds.start_average(engine)
    if resumed is not None:
        restore_engine(engine, resumed, context.world)
    return engine


@dataclass(frozen=True)
class Position:
    """How far the steps of a run have come; the part of a `RunState` that a step changes."""

    step: int  # steps done
    visited: int  # utterances of these steps, damaged ones included
    skipped_steps: int  # how many in a row, up to this one, had no finite gradient
    seconds: float  # that the run has taken in all attempts; 0 where no time limits it
    is_out_of_time: bool = False  # whether it was the last because the time is over

    def added_to(self, state: RunState) -> RunState:
        """`state` at this position."""
        return replace(state, **vars(self))


def take_steps(
    engine: Engine, context: RunContext, state: RunState, meter: Meter, tracker: Tracker, shown: RunProgress
) -> Iterator[Position]:
    """Takes the steps that are left, and yields the position after each.

    Where the time is over, it yields the position of the last step again, which says so.

    Raises:
        CliError: Too many utterances are damaged, or memory does not suffice.
        FloatingPointError: Too many steps in a row had no finite gradient.
        Stopped: A rank was asked to stop; raised before a step begins, on all ranks alike.
    """
    damaged_so_far = open_records(context, state.step)
    engine.train()
    seconds_before = state.seconds
    # After a stop its reader lives until the save is done: a read that never returns must not hold that up.
    steps = AgreedSteps(_read_steps(context, state.step), context.watch, context.world)
    step_started = meter.started = time.perf_counter()
    while True:
        try:
            agreed = steps.take()
        except OutOfTime:
            yield Position(state.step, state.visited, state.skipped_steps, state.seconds, is_out_of_time=True)
            return
        if agreed is None:
            return
        step = agreed.step
        visited = state.visited + step.utterances
        damaged_so_far += agreed.damaged
        if agreed.damaged:
            quarantine(context, step, damaged_so_far, visited)
        record_unaugmented(context, step)
        look_ahead = None if _pauses_after(context, state, step) else steps.look_ahead
        loss, gradient_norm = train_step(engine, context, step, agreed.good, meter, look_ahead)
        meter.add(step, agreed.damaged, loss, gradient_norm, steps.pop_waiting_seconds())
        context.watch.busy_seconds = meter.busy_seconds
        if context.config.tracking.ledger:
            record_visits(context, step)
        skipped_steps = count_skipped(context, step, state, gradient_norm)
        seconds = seconds_before + seconds_since_start() if context.config.batching.max_minutes else 0.0
        position = Position(step.number + 1, visited, skipped_steps, seconds)
        state = position.added_to(state)
        values: Values = {}
        if context.logging_is_due(state.step):
            values = meter.values(context, state)
            tracker.log(state.step, values)
            meter.restart()

        yielded = time.perf_counter()
        shown.step_done(state, yielded - step_started, values)
        yield position
        step_started = time.perf_counter()
        meter.started += step_started - yielded  # evaluations and saves are no part of a step's time


def _pauses_after(context: RunContext, state: RunState, step: Step) -> bool:
    """Whether an evaluation or a save may follow a step: a stop that is requested in it comes before the next step."""
    after = replace(state, step=step.number + 1)
    return context.evaluation_is_due(after) or context.save_is_due(after)


def _read_steps(context: RunContext, first: int) -> Iterator[Step]:
    """This rank's part of the steps from `first` to the end, read ahead."""
    world = context.world
    augmentation = context.augmentation
    return steps_from(
        context.plan,
        range(first, context.total_steps),
        rank=world.rank,
        world_size=world.world_size,
        cap_samples=context.cap.samples,
        threads=context.config.data.decode_threads,
        pin=world.device.type == "cuda",
        cache=context.cache,
        change=None if augmentation is None else partial(augment, augmentation),
    )
