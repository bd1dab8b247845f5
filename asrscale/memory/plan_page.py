"""The plots of the planner's HTML page: memory over the time of a step, and time over memory."""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from asrscale.common import html
from asrscale.common.html_chart import chart
from asrscale.memory.choices import Choice
from asrscale.memory.gpu_memory import outside_bytes
from asrscale.memory.gpus import GIB
from asrscale.memory.plan_text import checkpointing_text
from asrscale.memory.timing import operation_seconds

MAX_POINTS = 400  # of a curve: more do not show
STEP_WIDTH = 0.03  # of an optimizer step's line, as a share of the pass before it: its time is not estimated by itself

Points: TypeAlias = list[tuple[float, float]]


def memory_blocks(best: Choice) -> list[html.Block]:
    """Returns a plot of the best choice's memory over a step, and bars of what it is made of at its peak."""
    note = (
        f"The largest pass of a step, {best.pass_utterances:,} utterances of {best.longest.seconds:.3g} s, and the "
        "optimizer step after it. Times are estimated."
    )
    return [
        chart(
            "Memory over a step",
            _timeline(best),
            x_label="time in seconds",
            y_label="memory of a GPU in GiB",
            level_lines=[_card_name(best)],
            note=note,
        ),
        html.bars("What the peak is made of", _in_gib(best.peak_bytes), unit="GiB of a GPU"),
    ]


def frontier_blocks(best: Choice, choices_by_budget: Iterable[Sequence[Choice]]) -> list[html.Block]:
    """Returns a plot of a step's time over a GPU's memory, and bars of the memory needed beside the GPU.

    Args:
        best: The best choice.
        choices_by_budget: For GPUs of growing memory their choices, the fastest that fits first.
    """
    return [
        chart(
            "Time of a step by the memory of the GPU",
            _frontier(choices_by_budget),
            x_label="memory of the GPU in GiB",
            y_label="time of an optimizer step in seconds",
            note="A GPU of the same speed with less memory, at its fastest configuration. Times are estimated.",
        ),
        html.bars(
            "Memory beside the GPU", _in_gib(best.host_bytes), unit="GiB at most, of the rank that writes checkpoints"
        ),
    ]


def _in_gib(sizes_bytes: dict[str, float]) -> dict[str, float]:
    """Returns named sizes in GiB."""
    return {name: size / GIB for name, size in sizes_bytes.items()}


def _card_name(best: Choice) -> str:
    return f"all of {best.gpu.name}"


def _timeline(best: Choice) -> dict[str, Points]:
    """Returns curves of (seconds, GiB) over the largest pass of a step and the optimizer step after it."""
    states = best.states
    backward_row = best.longest.forward_rows.loss + 1
    seconds = np.cumsum(operation_seconds(best.longest, best.pass_utterances, best.gpu))
    resident_bytes = sum(states.resident.values()) + outside_bytes(best.gpus)
    live_bytes = best.longest.timeline_bytes(best.pass_utterances) + resident_bytes
    live_bytes[backward_row:] += states.backward_bytes

    starts = _group_starts(len(live_bytes))
    points = _highest_points(seconds, live_bytes, starts)
    turn = int(np.searchsorted(starts, backward_row))
    end_seconds = points[-1][0]
    step_gib = (resident_bytes + states.step_bytes) / GIB
    card_gib = best.gpu.memory_gib
    return {
        "forward and loss": points[: turn + 1],
        "backward": points[turn:],
        "optimizer step": [(end_seconds, step_gib), ((1 + STEP_WIDTH) * end_seconds, step_gib)],
        _card_name(best): [(0.0, card_gib), (end_seconds, card_gib)],
    }


def _group_starts(operations: int) -> NDArray[np.int64]:
    """Returns the first of each few operations, of which one point is drawn."""
    return np.unique(np.linspace(0, operations - 1, MAX_POINTS).astype(np.int64))


def _highest_points(seconds: NDArray[np.float64], live_bytes: NDArray[np.float64], starts: NDArray[np.int64]) -> Points:
    """Returns for each group of operations when it begins, and the most GiB that are alive in it."""
    highest_gib = np.maximum.reduceat(live_bytes, starts) / GIB
    return list(zip(seconds[starts].tolist(), highest_gib.tolist(), strict=True))


def _frontier(choices_by_budget: Iterable[Sequence[Choice]]) -> dict[str, Points]:
    """Returns (GiB, seconds) of the fastest choice that fits each budget, by setting of activation checkpointing."""
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
