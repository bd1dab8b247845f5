"""The plan of a run as text: steps, padding, balance, lengths."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np

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


def describe_plan(plan: RunPlan, *, world_size: int, cap_samples: int) -> str:
    """Returns what the first window's first epoch will look like: steps, padding, balance, and its units by length.

    Before it, what of each data set is in an epoch, where that is a question.
    """
    visit = plan_visit(plan, 0)
    lengths = visit.computed_samples
    steps = [visit.plan.step(number) for number in range(visit.plan.num_steps)]
    every = max(1, len(steps) // MEASURED_STEPS)
    found = measure_steps(
        steps[::every], lengths, visit.computed_frames, world_size=world_size, cap_samples=cap_samples
    )

    headline = (
        f"{plan.steps_per_epoch:,} steps an epoch in {len(plan.windows):,} windows, {plan.units_per_step} units a "
        f"step; padding {found.padding:.1%}, {found.equal_frames:.0%} of the audio in passes without padded frames, "
        f"mean/max work of {world_size} ranks {found.balance:.3f}"
    )
    units = chain.from_iterable(steps)
    longest_seconds = np.array([lengths[unit].max() / SAMPLE_RATE_HZ for unit in units if len(unit)])
    counts, edges = np.histogram(longest_seconds, LENGTH_BINS)
    mix = describe_mix(plan.catalog)
    lines = [f"mix: {mix}", headline] if mix else [headline]
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
