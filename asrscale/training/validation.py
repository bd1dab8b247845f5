"""Evaluations while training: transcribes a subset of the validation data, and keeps track of the best model."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice

from asrscale.common.progress import Progress
from asrscale.results.by_data_set import rates_by_data_set, rows_by_data_set
from asrscale.results.evaluation import Evaluation, evaluate
from asrscale.results.metrics import Metric, both_metrics
from asrscale.results.predictions import predictions, print_damaged
from asrscale.training.checkpoint import RunState
from asrscale.training.engine import Engine
from asrscale.training.run_context import RunContext
from asrscale.training.tracking import Tracker
from asrscale.training.watch import Watch

SAMPLE_PREDICTIONS = 20  # recorded after each evaluation
WORSE_EVALUATIONS = 2  # in a row, than before the first step: then a person is warned, once


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
    by_data_set: dict[str, float] = {}
    if context.world.is_main:
        print_damaged(context.valid_subset, result)
        by_data_set = rates_by_data_set(rows_by_data_set(context.valid_subset, result), "valid")
    rates = {name: result.errors.rate(name) for name in both_metrics(context.metric)}
    values = {f"valid/{name}": rate for name, rate in rates.items()}
    score = score_of(result, context.metric)
    compared = compare(context, state, score)
    values_before = _values_before(compared, context.metric)
    tracker.log(state.step, {**values, "valid/loss": result.loss, **values_before, **by_data_set})
    rows = predictions(context.valid_subset, result.hypotheses())
    tracker.log_predictions(state.step, list(islice(rows, SAMPLE_PREDICTIONS)))

    shown = ", ".join(f"{name.upper()} {rate:.2%}" for name, rate in rates.items())
    bar.write(f"step {state.step:,}: {shown}{_remark(compared)}")
    if state.worse_evaluations < compared.worse_evaluations == WORSE_EVALUATIONS:
        bar.write(_worse_than_before(compared, context.metric))
    return compared


def compare(context: RunContext, state: RunState, score: tuple[float, ...]) -> RunState:
    """Returns `state` with the evaluation of its step counted, which is the best where its score is the lowest.

    While the head alone is trained, and while learning rates rise to their peak, evaluations that are no better count
    neither for early stopping nor as worse than the model before its first step.
    """
    counted = replace(state, evaluated_step=state.step, last=score)
    if state.step == 0:
        counted = replace(counted, before=score)
    if state.best is None or score < state.best:
        counted = replace(counted, best=score, best_step=state.step, stale_evaluations=0)
    elif context.is_warmed_up(state.step):
        counted = replace(counted, stale_evaluations=state.stale_evaluations + 1)
    return replace(counted, worse_evaluations=_count_worse(context, state, score))


def _count_worse(context: RunContext, state: RunState, score: tuple[float, ...]) -> int:
    """Returns how many evaluations in a row were worse than the model before its first step, with one more.

    Once a person was warned, the number stays.
    """
    if state.before is None or state.worse_evaluations == WORSE_EVALUATIONS:
        return state.worse_evaluations
    is_worse = context.is_warmed_up(state.step) and score[0] > state.before[0]
    return state.worse_evaluations + 1 if is_worse else 0


def _values_before(state: RunState, metric: Metric) -> dict[str, float | None]:
    """Returns the rates before the first step, which are logged with each evaluation: a level line in its curves."""
    if state.before is None:
        return {}
    return {f"valid/{name}_before": rate for name, rate in zip(both_metrics(metric), state.before, strict=False)}


def _remark(state: RunState) -> str:
    """Returns what is said of an evaluation behind its rates."""
    if state.step == 0:
        return " before the first step: the rates to beat"
    return ", the best so far" if state.best_step == state.step else ""


def _worse_than_before(state: RunState, metric: Metric) -> str:
    """Returns a warning, with the usual causes."""
    assert state.before is not None and state.last is not None
    return (
        f"warning: {metric.upper()} is {state.last[0]:.2%} at step {state.step:,}, and was {state.before[0]:.2%} "
        f"before the first step: {WORSE_EVALUATIONS} evaluations in a row were worse than the model to begin with. "
        "Usual causes: a --learning_rate too high for a model that transcribes already (try a tenth); or transcripts "
        "in another style than those it was trained on (capitals, punctuation, numbers, spelling, language): compare "
        f"reference and hypothesis in eval/step-{0:08d}.jsonl of the run"
    )


def score_of(result: Evaluation, metric: Metric) -> tuple[float, ...]:
    """Returns what decides which model is the best, that of the lowest: the deciding error rate, the other, the loss.

    While a young model still outputs nothing and its WER stays at 100 %, CER and loss show that it learns.
    """
    rates = [result.errors.rate(name) for name in both_metrics(metric)]
    return (*rates, math.inf if result.loss is None else result.loss)


def reports_evaluating(watch: Watch) -> Callable[[], bool]:
    """A function that reports progress of an evaluation, and returns whether this rank was asked to stop."""
    return partial(watch.beat, "evaluating")
