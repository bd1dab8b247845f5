"""The learning rate as a function of the step: nothing to save, nothing to resume."""

import math
from typing import Literal

Schedule = Literal["linear", "cosine"]

# The from-scratch recipe: constant to 30 % of the run, then half a cosine down to 2 % of the peak.
HOLD_FRACTION = 0.3
FINAL_FRACTION = 0.02


def learning_rate_at(step: int, *, schedule: Schedule, peak: float, warmup_steps: int, total_steps: int) -> float:
    """The learning rate of step `step` (0-based) of `total_steps`.

    Linear warm-up reaches `peak` at step `warmup_steps`; then `linear` falls to 0 at the end, `cosine` stays
    at the peak until HOLD_FRACTION of the run and falls to FINAL_FRACTION of the peak.
    """
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    if schedule == "linear":
        return peak * (total_steps - step) / max(1, total_steps - warmup_steps)
    hold_until = max(warmup_steps, HOLD_FRACTION * total_steps)
    if step < hold_until:
        return peak
    done = (step - hold_until) / max(1.0, total_steps - hold_until)
    return peak * (FINAL_FRACTION + (1 - FINAL_FRACTION) * (1 + math.cos(math.pi * min(1.0, done))) / 2)
