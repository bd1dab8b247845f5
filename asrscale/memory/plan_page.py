"""The HTML page of the planner: memory over the time of a step, and time over memory."""

from collections.abc import Iterable, Sequence

import numpy as np

from asrscale.common import html
from asrscale.memory.choices import Choice
from asrscale.memory.deepspeed_states import outside_bytes
from asrscale.memory.gpus import GIB
from asrscale.memory.plan_text import checkpointing_text
from asrscale.memory.timing import operation_seconds

MAX_POINTS = 400  # of a curve: more do not show

Points = list[tuple[float, float]]


def memory_blocks(best: Choice) -> list[html.Block]:
    """What the best choice's memory does in a step, and what it is made of."""
    peak_gib = {name: size / GIB for name, size in best.peak_bytes.items()}
    return [
        html.curves("GiB over seconds (estimated)", _timeline(best)),
        html.bars("GiB at the peak", peak_gib),
    ]


def frontier_blocks(best: Choice, choices_by_budget: Iterable[Sequence[Choice]]) -> list[html.Block]:
    """What more or less memory would do to the time of a step, and the memory needed beside the GPU.

    `choices_by_budget` has the choices for GPUs of growing memory, the fastest that fits first.
    """
    host_gib = {name: size / GIB for name, size in best.host_bytes.items()}
    caption = "seconds of a step (estimated) over GiB of the GPU, at its best configuration"
    return [
        html.curves(caption, _frontier(choices_by_budget)),
        html.bars("GiB beside the GPU, at most, for rank 0", host_gib),
    ]


def _timeline(best: Choice) -> dict[str, Points]:
    """(seconds, GiB) over the largest pass of a step and the optimizer step after it."""
    cost = best.longest
    states = best.states
    resident_bytes = sum(states.resident.values()) + outside_bytes(best.gpus)
    live_bytes = cost.timeline_bytes(best.pass_utterances) + resident_bytes
    seconds = np.cumsum(operation_seconds(cost, best.pass_utterances, best.gpu))
    loss_row = cost.forward_rows[1]
    live_bytes[loss_row:] += states.backward_bytes

    # Thousands of operations are drawn as the highest of each few.
    starts = np.unique(np.linspace(0, len(live_bytes) - 1, MAX_POINTS).astype(int))
    highest_gib = np.maximum.reduceat(live_bytes, starts) / GIB
    points = list(zip(seconds[starts].tolist(), highest_gib.tolist(), strict=True))
    turn = int(np.searchsorted(starts, loss_row))
    end_seconds = points[-1][0]
    step_gib = (resident_bytes + states.step_bytes) / GIB
    card_gib = best.gpu.memory_gib
    return {
        "forward and loss": points[: turn + 1],
        "backward": points[turn:],
        "optimizer step": [(end_seconds, step_gib), (1.03 * end_seconds, step_gib)],
        best.gpu.name: [(0.0, card_gib), (end_seconds, card_gib)],
    }


def _frontier(choices_by_budget: Iterable[Sequence[Choice]]) -> dict[str, Points]:
    """(GiB, seconds) of the fastest choice that fits each budget, for each setting of activation checkpointing."""
    lines: dict[int, Points] = {}
    for choices in choices_by_budget:
        drawn = set()
        for way in choices:
            every = way.activation_checkpointing
            lines.setdefault(every, [])
            if way.cap_seconds and every not in drawn:
                drawn.add(every)
                lines[every].append((way.gpu.memory_gib, way.step_seconds))
    return {checkpointing_text(every): points for every, points in sorted(lines.items())}
