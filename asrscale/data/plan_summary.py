"""The plan of a run as text: steps, padding, balance, lengths."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray

from asrscale.data.hashing import Ids
from asrscale.data.mixing import describe_mix
from asrscale.data.passes import cut_step, padded_samples, pass_time
from asrscale.data.run_plan import RunPlan, plan_visit
from asrscale.speech.pcm import SAMPLE_RATE_HZ

MEASURED_STEPS = 200  # about so many are cut into passes: a sample of the steps is enough
LENGTH_BINS = 8


@dataclass(frozen=True)
class Efficiency:
    """How well the passes of some steps use the ranks' time."""

    padding: float  # share of the samples computed on
    balance: float  # mean over max of the ranks' times, which wait for each other once a step
    equal_frames: float  # share of the audio that is in passes without a frame of padding


@dataclass(frozen=True, eq=False)
class PlanSummary:
    """What the first window's first epoch of a run will look like.

    Attributes:
        plan: Of the run.
        efficiency: Of its passes.
        world_size: The ranks that these are dealt to.
        longest_seconds: Of each unit, the length of its longest utterance.
    """

    plan: RunPlan
    efficiency: Efficiency
    world_size: int
    longest_seconds: NDArray[np.float64]

    @property
    def mix(self) -> str:
        """What of each data set is in an epoch, where that is a question; else empty."""
        return describe_mix(self.plan.catalog)

    @property
    def headline(self) -> str:
        """Steps, padding and balance as one line."""
        found = self.efficiency
        return (
            f"{self.plan.steps_per_epoch:,} steps an epoch in {len(self.plan.windows):,} windows, "
            f"{self.plan.units_per_step} units a step; padding {found.padding:.1%}, {found.equal_frames:.0%} of the "
            f"audio in passes without padded frames, mean/max work of {self.world_size} ranks {found.balance:.3f}"
        )


def summarise_plan(plan: RunPlan, *, world_size: int, cap_samples: int) -> PlanSummary:
    """Returns what the first window's first epoch will look like."""
    visit = plan_visit(plan, 0)
    lengths = visit.computed_samples
    steps = [visit.plan.step(number) for number in range(visit.plan.num_steps)]
    every = max(1, len(steps) // MEASURED_STEPS)
    efficiency = measure_steps(
        steps[::every], lengths, visit.computed_frames, world_size=world_size, cap_samples=cap_samples
    )
    units = chain.from_iterable(steps)
    longest_seconds = np.array([lengths[unit].max() / SAMPLE_RATE_HZ for unit in units if len(unit)])
    return PlanSummary(plan, efficiency, world_size, longest_seconds)


def describe_plan(plan: RunPlan, *, world_size: int, cap_samples: int) -> str:
    """Returns what the first window's first epoch will look like: steps, padding, balance, and its units by length.

    Before it, what of each data set is in an epoch, where that is a question.
    """
    return format_summary(summarise_plan(plan, world_size=world_size, cap_samples=cap_samples))


def format_summary(summary: PlanSummary) -> str:
    """Returns a summary as lines of text."""
    counts, edges = np.histogram(summary.longest_seconds, LENGTH_BINS)
    lines = [f"mix: {summary.mix}", summary.headline] if summary.mix else [summary.headline]
    for count, (low, high) in zip(counts, pairwise(edges), strict=True):
        lines.append(f"  {low:5.1f} to {high:5.1f} s {count:8,} units")
    return "\n".join(lines)


def measure_steps(
    steps: Sequence[Sequence[Ids]], lengths: Ids, frames: Ids, *, world_size: int, cap_samples: int
) -> Efficiency:
    """Cuts steps into passes and measures them.

    Args:
        steps: The units of each step.
        lengths: (N,) samples of each utterance that units may name.
        frames: (N,) frames that the encoder gets of each.
        world_size: Number of ranks.
        cap_samples: The most padded samples of a pass.
    """
    audio_samples = 0
    computed_samples = 0
    busy_time = 0
    elapsed_time = 0  # of all ranks, waiting included
    equal_samples = 0  # in passes whose utterances have equally many frames
    for units in steps:
        ranks = cut_step(units, lengths, memory_cap_samples=cap_samples, world_size=world_size, frames=frames)
        rank_times = [_rank_time(passes, lengths) for passes in ranks]
        busy_time += sum(rank_times)
        elapsed_time += max(rank_times) * world_size
        audio_samples += sum(int(lengths[unit].sum()) for unit in units)
        for utterances in chain.from_iterable(ranks):
            computed_samples += padded_samples(utterances, lengths)
            if len(utterances) and not np.ptp(frames[utterances]):
                equal_samples += int(lengths[utterances].sum())
    if not computed_samples:  # a few utterances of a low weight, none of them in this epoch
        return Efficiency(padding=0, balance=1, equal_frames=1)
    return Efficiency(
        padding=1 - audio_samples / computed_samples,
        balance=busy_time / elapsed_time,
        equal_frames=equal_samples / audio_samples,
    )


def _rank_time(passes: Sequence[Ids], lengths: Ids) -> int:
    """Returns the relative time that a rank is busy with its passes of a step."""
    return sum(pass_time(utterances, lengths) for utterances in passes)
