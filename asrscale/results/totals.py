"""Errors and losses, as sums that add up over passes and ranks."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, field

from asrscale.results.metrics import ErrorCounts


@dataclass(frozen=True)
class Totals:
    """The errors and losses of some utterances."""

    errors: ErrorCounts = field(default_factory=ErrorCounts)
    loss: float = 0.0  # summed over the utterances that have a finite one
    losses: int = 0  # how many these are

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(
            errors=self.errors + other.errors,
            loss=self.loss + other.loss,
            losses=self.losses + other.losses,
        )

    @property
    def mean_loss(self) -> float | None:
        """The loss of an utterance on average; None where no utterance has one."""
        return self.loss / self.losses if self.losses else None

    def to_vector(self) -> list[float]:
        """All numbers in one list, to be summed over the ranks."""
        return [*astuple(self.errors), self.loss, self.losses]

    @classmethod
    def from_vector(cls, values: Sequence[float]) -> "Totals":
        """The totals that `to_vector` made a list of."""
        *counts, loss, losses = values
        return cls(errors=ErrorCounts(*map(round, counts)), loss=loss, losses=round(losses))
