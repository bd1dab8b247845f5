"""The learning rate as a function of the step: nothing to save, nothing to resume."""

import math
from typing import Literal

Schedule = Literal["linear", "cosine", "tri_stage"]


# The share of the run up to which the peak is held, and the share of the peak at the end.
HOLD_FRACTION, FINAL_FRACTION = 0.3, 0.02  # of the from-scratch recipe


TRI_STAGE_HOLD_FRACTION, TRI_STAGE_FINAL_FRACTION = 0.5, 0.05  # of fairseq's wav2vec 2.0 recipes


def learning_rate_at(step: int, *, schedule: Schedule, peak: float, warmup_steps: int, total_steps: int) -> float:
    """The learning rate of step `step` (0-based) of `total_steps`.

    Linear warm-up reaches `peak` at step `warmup_steps`; then `linear` falls to 0 at the end, the others stay at the
    peak until their share of the run and fall to their share of the peak, `tri_stage` exponentially.
    """
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    if schedule == "linear":
        return peak * (total_steps - step) / max(1, total_steps - warmup_steps)
    tri_stage = schedule == "tri_stage"
    hold_until = max(warmup_steps, (TRI_STAGE_HOLD_FRACTION if tri_stage else HOLD_FRACTION) * total_steps)
    done = min(1.0, max(0.0, (step - hold_until) / max(1.0, total_steps - hold_until)))
    if tri_stage:
        return peak * float(TRI_STAGE_FINAL_FRACTION**done)
    return peak * (FINAL_FRACTION + (1 - FINAL_FRACTION) * (1 + math.cos(math.pi * done)) / 2)
