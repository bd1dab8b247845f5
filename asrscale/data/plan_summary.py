"""The plan of a run as text: steps, padding, balance, lengths."""

from itertools import pairwise

import numpy as np

from asrscale.data import even_cuts
from asrscale.data.passes import cut_step, padded_samples
from asrscale.data.run_plan import RunPlan, plan_visit
from asrscale.speech.pcm import SAMPLE_RATE_HZ


def describe_plan(plan: RunPlan, *, world_size: int, cap_samples: int) -> str:
    """What the first window's first epoch will look like: steps, padding, balance, and its units by length, as text."""
    visit = plan_visit(plan, 0)
    lengths, steps = visit.computed_samples, [visit.plan.step(number) for number in range(visit.plan.num_steps)]
    longest = np.array([lengths[unit].max() / SAMPLE_RATE_HZ for units in steps for unit in units if len(unit)])
    audio, padded, work, waited = 0, 0, 0, 0
    for units in steps[:: max(1, len(steps) // 200)]:  # a sample of the steps is enough
        ranks = cut_step(units, lengths, memory_cap_samples=cap_samples, world_size=world_size)
        longest_of = [[(len(ids), lengths[ids].max()) for ids in own if len(ids)] for own in ranks]
        times = [sum(count * int(even_cuts.relative_time(longest)) for count, longest in own) for own in longest_of]
        work, waited = work + sum(times), waited + max(times) * world_size
        passes = [utterances for own in ranks for utterances in own]
        audio += sum(int(lengths[utterances].sum()) for utterances in passes)
        padded += sum(padded_samples(utterances, lengths) for utterances in passes)
    counts, edges = np.histogram(longest, 8)
    lines = [
        f"{plan.steps_per_epoch:,} steps an epoch in {len(plan.windows):,} windows, {plan.units_per_step} units a "
        f"step; padding {1 - audio / padded:.1%}, mean/max work of {world_size} ranks {work / waited:.3f}"
    ]
    bins = zip(counts, pairwise(edges), strict=True)
    return "\n".join(lines + [f"  {low:5.1f} to {high:5.1f} s {n:8,} units" for n, (low, high) in bins])
