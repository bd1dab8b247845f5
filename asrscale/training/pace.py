"""How long the rest of a run takes, by the measured times of its steps, evaluations and saves."""

from collections import deque
from dataclasses import dataclass, field

from asrscale.training.checkpoint import RunState
from asrscale.training.run_context import RunContext

STEPS_MEASURED = 100  # the mean of the last ones is the time of a step
FEWEST_STEPS = 5  # below them nothing is said


@dataclass
class Pace:
    """The measured times of what a run does, of this attempt."""

    step_seconds: deque[float] = field(default_factory=lambda: deque(maxlen=STEPS_MEASURED))
    steps: int = 0
    evaluation_seconds: float | None = None  # of the last one
    save_seconds: float | None = None  # of the last one

    def add_step(self, seconds: float) -> None:
        """Adds a step; the first one is left out, in which kernels are chosen and memory is claimed."""
        if self.steps:
            self.step_seconds.append(seconds)
        self.steps += 1


@dataclass(frozen=True)
class TimeLeft:
    """An estimate for the rest of a run.

    Attributes:
        seconds: Of all that was measured before.
        evaluations: How many more there are whose time is not in `seconds`, since none was measured yet.
    """

    seconds: float
    evaluations: int = 0

    def __str__(self) -> str:
        """For people."""
        text = describe_seconds(self.seconds)
        return f"{text} and {self.evaluations:,} evaluations" if self.evaluations else text


def time_left(pace: Pace, context: RunContext, state: RunState) -> TimeLeft | None:
    """Estimates the time from `state` to the end of the run, its last evaluation and export included.

    Early stopping is not foreseen. None while fewer than `FEWEST_STEPS` steps were measured.
    """
    if len(pace.step_seconds) < FEWEST_STEPS:
        return None
    mean_seconds = sum(pace.step_seconds) / len(pace.step_seconds)
    seconds = mean_seconds * (context.total_steps - state.step)
    settings = context.config.evaluation
    evaluations = _due(state.step, context.total_steps, settings.eval_steps)
    # At the end, a model folder is written and evaluated on all data for each of the weights that are compared.
    models = 1 + bool(settings.average) + bool(context.config.optimisation.ema)
    if pace.save_seconds is not None:
        saves = _due(state.step, context.total_steps, settings.save_steps) + models
        seconds += saves * pace.save_seconds
    if pace.evaluation_seconds is None:
        return TimeLeft(seconds, evaluations + models)
    final_seconds = pace.evaluation_seconds * len(context.valid) / len(context.valid_subset)
    return TimeLeft(seconds + evaluations * pace.evaluation_seconds + models * final_seconds)


def _due(step: int, total_steps: int, every: int) -> int:
    """Returns how often something is due after `step`, each time that so many steps are done and at the end."""
    scheduled = total_steps // every - step // every
    is_due_at_the_end = total_steps % every > 0 and step < total_steps
    return scheduled + is_due_at_the_end


def describe_seconds(seconds: float) -> str:
    """Returns a time as people say it: in hours and minutes, minutes, or seconds."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
