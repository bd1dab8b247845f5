"""What a person sees of a run while it trains: the bar, or plain lines, with loss, error rate, speed and time left."""

from asrscale.common.progress import Progress
from asrscale.training.checkpoint import RunState
from asrscale.training.pace import Pace, time_left
from asrscale.training.run_context import RunContext
from asrscale.training.tracking import Values


class RunProgress:
    """Shows how far a run is, and measures the times that the rest is estimated by."""

    def __init__(self, context: RunContext, bar: Progress, start: RunState) -> None:
        self.bar = bar
        self.pace = Pace()
        self._context = context
        self._values: Values = {}  # the last line of metrics
        self._best = start.best  # of the evaluations so far
        self._said_duration = False

    def step_done(self, state: RunState, seconds: float, values: Values) -> None:
        """Counts a step.

        Args:
            state: After it; of evaluations it need not know.
            seconds: How long it took.
            values: The line of metrics that was written after it; empty where none was.
        """
        self.pace.add_step(seconds)
        self._values = values or self._values
        if not self._said_duration:
            left = time_left(self.pace, self._context, state)
            self._said_duration = left is not None
            if left is not None:
                self.bar.write(f"at the pace of the first steps, the run takes another {left}")
        self.bar.advance(note=self._note(state))

    def evaluated(self, state: RunState, seconds: float) -> None:
        """Counts the time of the evaluation that led to `state`."""
        self.pace.evaluation_seconds = seconds
        self._best = state.best
        self.bar.advance(0, note=self._note(state))

    def saved(self, seconds: float) -> None:
        """Counts the time of a save."""
        self.pace.save_seconds = seconds

    def _note(self, state: RunState) -> str:
        left = time_left(self.pace, self._context, state)
        parts = [] if left is None else [f"{left} left"]
        return ", ".join([*parts, *self._measured()])

    def _measured(self) -> list[str]:
        """Returns what is known of loss, best error rate and speed."""
        parts = []
        loss = self._values.get("train/loss")
        if isinstance(loss, float):
            parts.append(f"loss {loss:.3f}")
        if self._best is not None:
            parts.append(f"best {self._context.metric.upper()} {self._best[0]:.2%}")
        if "train/audio_seconds_per_second" in self._values:
            parts.append(f"{self._values['train/audio_seconds_per_second']:,.0f}× real time")
        return parts
