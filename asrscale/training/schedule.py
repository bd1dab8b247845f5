"""The learning rate, and the decay of an average, as functions of the step: nothing to save, nothing to resume."""

import math
from dataclasses import dataclass
from typing import Literal

Schedule = Literal["linear", "cosine", "tri_stage"]

# Of `cosine`, the recipe for training from scratch: the share of the run up to which the peak is held, and the share of
# the peak at the end.
COSINE_HOLD_FRACTION = 0.3
COSINE_FINAL_FRACTION = 0.02

# The same of `tri_stage`, from fairseq's wav2vec 2.0 recipes.
TRI_STAGE_HOLD_FRACTION = 0.5
TRI_STAGE_FINAL_FRACTION = 0.05


@dataclass(frozen=True)
class LearningRates:
    """The learning rates of a step."""

    head: float
    below: float | None  # of all weights but the head's; None: AdamW leaves them, and what it keeps of them, alone


def learning_rate_at(step: int, *, schedule: Schedule, peak: float, warmup_steps: int, total_steps: int) -> float:
    """Returns the learning rate of step `step` (0-based) of `total_steps`.

    Linear warm-up reaches `peak` at step `warmup_steps`. Then `linear` falls to 0 at the end; the others stay at the
    peak until their share of the run and fall to their share of the peak, `tri_stage` exponentially.
    """
    if step < warmup_steps:
        return _rising_rate(step, peak, warmup_steps)
    if schedule == "linear":
        return peak * (total_steps - step) / max(1, total_steps - warmup_steps)
    if schedule == "cosine":
        fallen = _fallen_fraction(step, COSINE_HOLD_FRACTION, warmup_steps, total_steps)
        cosine = (1 + math.cos(math.pi * fallen)) / 2  # from 1 to 0
        return peak * (COSINE_FINAL_FRACTION + (1 - COSINE_FINAL_FRACTION) * cosine)
    fallen = _fallen_fraction(step, TRI_STAGE_HOLD_FRACTION, warmup_steps, total_steps)
    return peak * float(TRI_STAGE_FINAL_FRACTION**fallen)


def learning_rates_at(
    step: int, *, schedule: Schedule, peak: float, warmup_steps: int, freeze_steps: int, total_steps: int
) -> LearningRates:
    """Returns the learning rates of step `step` (0-based) of a run whose first `freeze_steps` train the head only.

    The weights below the head have a warm-up of their own, as long as the run's, which begins when they are trained.
    """
    head = learning_rate_at(step, schedule=schedule, peak=peak, warmup_steps=warmup_steps, total_steps=total_steps)
    if step < freeze_steps:
        return LearningRates(head=head, below=None)
    return LearningRates(head=head, below=min(head, _rising_rate(step - freeze_steps, peak, warmup_steps)))


def _rising_rate(step: int, peak: float, warmup_steps: int) -> float:
    """Returns the learning rate of a linear warm-up, which a run leaves when it reaches `peak`."""
    return peak * (step + 1) / (warmup_steps + 1)


def average_decay_at(step: int, decay: float) -> float:
    """Returns how much of a moving average of the weights step `step` (0-based) keeps; the rest is of its weights.

    It is `decay`, but less at first: (1 + step) / (10 + step), as in TensorFlow's ExponentialMovingAverage. The average
    then covers about the last tenth of the steps, and soon forgets the weights that the run starts from.
    """
    return min(decay, (1 + step) / (10 + step))


def _fallen_fraction(step: int, hold_fraction: float, warmup_steps: int, total_steps: int) -> float:
    """Returns the share that is done of the fall from the peak to the end: 0 while the peak is held, 1 at the end."""
    hold_until = max(warmup_steps, hold_fraction * total_steps)
    fallen = (step - hold_until) / max(1.0, total_steps - hold_until)
    return min(1.0, max(0.0, fallen))
