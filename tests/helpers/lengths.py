"""Lengths of utterances for the tests of the epoch plan, and what they measure of units, steps and passes."""

import hashlib

import numpy as np
from hypothesis import strategies as st

from asrscale.data.epoch_plan import EpochPlan
from asrscale.data.even_cuts import relative_time
from asrscale.data.hashing import Ids

RATE_HZ = 16_000


def as_lengths(samples: list[int]) -> Ids:
    return np.array(samples, np.int64)


# Speech, and what speech is not: lengths of a few samples, all alike, a thousandfold apart.
LENGTHS = st.one_of(
    st.lists(st.integers(1_600, 320_000), min_size=1, max_size=300),
    st.lists(st.sampled_from([1, 7, 16_000, 16_000_000]), min_size=1, max_size=60),
    st.integers(1, 200).map(lambda count: [48_000] * count),
).map(as_lengths)
SEEDS = st.integers(-1, 2**64)


def common_voice_lengths(count: int = 20_000) -> Ids:
    """Like Common Voice v1's: 5 s in the mean, 1 to 15 s."""
    spread = np.random.default_rng(0).lognormal(1.5, 0.4, count)
    return (np.clip(spread, 1, 15) * RATE_HZ).astype(np.int64)


def together(parts: list[Ids]) -> Ids:
    """All utterances of units or passes, sorted."""
    return np.sort(np.concatenate([*parts, np.zeros(0, np.int64)]))


def all_passes(ranks: list[list[Ids]]) -> list[Ids]:
    """The passes of all ranks, those of one rank after those of another."""
    return [one for of_rank in ranks for one in of_rank]


def all_steps(plan: EpochPlan) -> list[list[Ids]]:
    return [plan.step(number) for number in range(plan.num_steps)]


def all_units(plan: EpochPlan) -> list[Ids]:
    return [unit for units in all_steps(plan) for unit in units]


def time_of(utterances: Ids, lengths: Ids) -> int:
    """Relative time of a unit or a pass, which is that of its longest utterance times their number."""
    if len(utterances) == 0:
        return 0
    return len(utterances) * int(relative_time(lengths[utterances].max()))


def digest(*arrays: Ids) -> str:
    return hashlib.sha256(b"".join(array.astype("<i8").tobytes() for array in arrays)).hexdigest()[:16]
