"""Evaluations while training: transcribes a subset of the validation data, and keeps track of the best model."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice

from asrscale.common.progress import Progress
from asrscale.results.evaluation import Evaluation, evaluate
from asrscale.results.metrics import Metric, both_metrics
from asrscale.results.predictions import predictions, print_damaged
from asrscale.training.checkpoint import RunState
from asrscale.training.engine import Engine
from asrscale.training.run_context import RunContext
from asrscale.training.tracking import Tracker
from asrscale.training.watch import Watch

SAMPLE_PREDICTIONS = 20  # recorded after each evaluation


def validate(engine: Engine, context: RunContext, state: RunState, tracker: Tracker, bar: Progress) -> RunState:
    """Transcribes the validation subset, records the result, and compares it with the best so far. A collective.

    Returns:
        `state` with the evaluation counted, and with the best score where this one is better.

    Raises:
        Stopped: A rank was asked to stop; the evaluation is not counted.
    """
    result = evaluate(
        engine,
        context.recognizer,
        context.valid_subset,
        context.world,
        memory_cap_seconds=context.cap.seconds,
        threads=context.config.data.decode_threads,
        title=None,
        cache=context.cache,
        should_stop=reports_evaluating(context.watch),
    )
    engine.train()
    if context.world.is_main:
        print_damaged(context.valid_subset, result)
    rates = {name: result.errors.rate(name) for name in both_metrics(context.metric)}
    values = {f"valid/{name}": rate for name, rate in rates.items()}
    tracker.log(state.step, values | {"valid/loss": result.loss})
    rows = predictions(context.valid_subset, result.hypotheses())
    tracker.log_predictions(state.step, list(islice(rows, SAMPLE_PREDICTIONS)))

    score = score_of(result, context.metric)
    is_best = state.best is None or score < state.best
    shown = ", ".join(f"{name.upper()} {rate:.2%}" for name, rate in rates.items())
    bar.write(f"step {state.step:,}: {shown}{', the best so far' if is_best else ''}")
    if is_best:
        return replace(state, evaluated_step=state.step, best=score, best_step=state.step, stale_evaluations=0)
    return replace(state, evaluated_step=state.step, stale_evaluations=state.stale_evaluations + 1)


def score_of(result: Evaluation, metric: Metric) -> tuple[float, ...]:
    """Returns what decides which model is the best, that of the lowest: the deciding error rate, the other, the loss.

    While a young model still outputs nothing and its WER stays at 100 %, CER and loss show that it learns.
    """
    rates = [result.errors.rate(name) for name in both_metrics(metric)]
    return (*rates, math.inf if result.loss is None else result.loss)


def reports_evaluating(watch: Watch) -> Callable[[], bool]:
    """A function that reports progress of an evaluation, and returns whether this rank was asked to stop."""
    return partial(watch.beat, "evaluating")
