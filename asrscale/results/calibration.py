"""Whether confidences are what they say: of the words with 0.8, four of five should be right.

Guo et al. 2017, "On calibration of modern neural networks": the expected calibration error, and one temperature, fitted
on validation data, that makes it small.

Shapes: W words, C cells of confidences.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from asrscale.common import distributed
from asrscale.common.distributed import World

Counts = npt.NDArray[np.float64]

CELLS = 1_000  # of confidences, by which words are counted: enough for an area under a curve
BINS = 10  # of the expected calibration error, and points of the plot

FEWEST = 10  # right and wrong words; of fewer no temperature is fitted
_LEAST_PROBABILITY = 1e-4  # one word that is wrong at 0 or 1 does not decide alone

# The logarithm of a temperature is looked for between these, in steps of 5 %.
_LN_TEMPERATURES = np.arange(math.log(0.25), math.log(64.0), 0.05)


@dataclass
class Reliability:
    """Words counted by their confidence: (C,) how many, how many of them right, and the sums of their confidences."""

    words: Counts = field(default_factory=lambda: np.zeros(CELLS))
    right: Counts = field(default_factory=lambda: np.zeros(CELLS))
    sums: Counts = field(default_factory=lambda: np.zeros(CELLS))

    def add(self, confidences: Sequence[float], right: Sequence[bool]) -> None:
        """Counts words."""
        cells = np.minimum((np.asarray(confidences, np.float64) * CELLS).astype(np.int64), CELLS - 1)
        np.add.at(self.words, cells, 1.0)
        np.add.at(self.right, cells, np.asarray(right, np.float64))
        np.add.at(self.sums, cells, confidences)

    def points(self) -> list[tuple[float, float, int]]:
        """Returns mean confidence, share of right words and number of words of each bin that has any."""
        words, right, sums = (
            counts.reshape(BINS, -1).sum(axis=1).tolist() for counts in (self.words, self.right, self.sums)
        )
        return [
            (total / count, good / count, int(count))
            for count, good, total in zip(words, right, sums, strict=True)
            if count
        ]

    @property
    def error(self) -> float:
        """The expected calibration error: how far confidence and share of right words lie apart, in the mean."""
        total = float(self.words.sum())
        return sum(abs(mean - share) * count for mean, share, count in self.points()) / total if total else 0.0

    @property
    def area(self) -> float | None:
        """How probable it is that a right word has more confidence than a wrong one; None where all are the same."""
        wrong = self.words - self.right
        pairs = float(wrong.sum() * self.right.sum())
        if not pairs:
            return None
        below = np.cumsum(wrong) - wrong
        return float((self.right * (below + wrong / 2)).sum()) / pairs


def summarise(calibrated: Reliability, uncalibrated: Reliability, temperature: float) -> dict[str, Any]:
    """Returns what is reported of confidences.

    Args:
        calibrated: With the temperature.
        uncalibrated: The same words with a temperature of 1.
        temperature: Of the model, or of its search.
    """
    words = int(calibrated.words.sum())
    return {
        "temperature": temperature,
        "words": words,
        "right": float(calibrated.right.sum() / words) if words else None,
        "mean": float(calibrated.sums.sum() / words) if words else None,
        "calibration_error": calibrated.error,
        "calibration_error_uncalibrated": uncalibrated.error,
        "area": calibrated.area,
        "reliability": calibrated.points(),
        "reliability_uncalibrated": uncalibrated.points(),
    }


def format_confidence(found: dict[str, Any]) -> str:
    """Returns what `summarise` found as a line."""
    if not found["words"]:
        return "confidence: no word to count"
    area = "" if found["area"] is None else f"; a right word has more than a wrong one in {found['area']:.1%} of pairs"
    if found["temperature"] == 1:  # none that is fitted is exactly 1
        calibration = ", not calibrated by --tune"
    else:
        calibration = f" (without calibration {found['calibration_error_uncalibrated']:.2%})"
    return (
        f"confidence: {found['mean']:.1%} in the mean, {found['right']:.1%} of {found['words']:,} words are right; "
        f"expected calibration error {found['calibration_error']:.2%}{calibration}{area}"
    )


def fit_temperature(
    confidences_at: Callable[[float], list[float]], right: Sequence[bool], world: World
) -> float | None:
    """Returns the temperature at which the words of all ranks are the likeliest to be right and wrong as they are.

    A collective.

    Args:
        confidences_at: Returns (W,) the confidences of this rank's words at a temperature.
        right: (W,) which of them are right.
        world: The ranks.

    Returns:
        None where fewer than `FEWEST` words are right, or wrong.
    """
    is_right = np.asarray(right, bool)
    sums = distributed.all_reduce_sum([float(is_right.sum()), float((~is_right).sum())], world)
    if min(sums) < FEWEST:
        return None
    own = [_loss(confidences_at(math.exp(ln)), is_right) for ln in _LN_TEMPERATURES]
    losses = distributed.all_reduce_sum(own, world)
    return round(math.exp(float(_LN_TEMPERATURES[int(np.argmin(losses))])), 3)


def _loss(confidences: list[float], is_right: npt.NDArray[np.bool_]) -> float:
    """Returns -ln of the probability that words are right and wrong as they are."""
    bounded = np.clip(confidences, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    return float(-np.log(np.where(is_right, bounded, 1 - bounded)).sum()) if len(is_right) else 0.0
