"""The error rates of a run before its first step, at its best and at its last evaluation, on the same utterances."""

from dataclasses import dataclass

from asrscale.results.metrics import Metric, both_metrics
from asrscale.training.checkpoint import RunState


@dataclass(frozen=True)
class Milestone:
    """One of the evaluations of a run that tell how it went.

    Attributes:
        name: `before` the first step, `best` or `last`.
        step: Where it was.
        rates: The error rates, the deciding one first.
        loss: None where none was finite.
    """

    name: str
    step: int
    rates: dict[str, float]
    loss: float | None


def milestones(state: RunState, metric: Metric) -> list[Milestone]:
    """Returns what is known of a run: nothing before its first step where the model did not transcribe yet."""
    known = [
        ("before", 0, state.before),
        ("best", state.best_step, state.best),
        ("last", state.evaluated_step, state.last),
    ]
    return [
        _milestone(name, step, score, metric) for name, step, score in known if score is not None and step is not None
    ]


def _milestone(name: str, step: int, score: tuple[float, ...], metric: Metric) -> Milestone:
    *rates, loss = score
    by_name: dict[str, float] = dict(zip(both_metrics(metric), rates, strict=True))
    return Milestone(name, step, by_name, loss if loss < float("inf") else None)


def describe_milestones(found: list[Milestone], metric: Metric, *, utterances: int, all_utterances: int) -> str:
    """Returns a table as text.

    Args:
        found: What `milestones` returned.
        metric: The deciding rate, which comes first.
        utterances: That were transcribed while training.
        all_utterances: Of the validation data.
    """
    first, second = both_metrics(metric)
    lines = [
        f"while training, on {utterances:,} of {all_utterances:,} validation utterances:",
        f"{'':6}  {'step':>9}  {first.upper():>6}  {second.upper():>6}  {'loss':>7}",
    ]
    for one in found:
        loss = "" if one.loss is None else f"{one.loss:.4f}"
        rates = f"{one.rates[first]:>6.2%}  {one.rates[second]:>6.2%}"
        lines.append(f"{one.name:6}  {one.step:>9,}  {rates}  {loss:>7}")
    if any(one.name == "best" and one.step == 0 for one in found):
        lines.append(
            "no evaluation was better than the one before the first step: the best model is the one it began with"
        )
    return "\n".join(lines)
