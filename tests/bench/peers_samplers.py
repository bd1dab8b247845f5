"""How others group utterances into batches: the samplers of lhotse and SpeechBrain, and the settings that suit them.

Both bound a batch by its padded seconds, so that its audio is less, by how much depends on the data and the number of
buckets. `best_fit` looks for the bound with which a batch has as many seconds of audio on average as a step of the
others, and for the number of buckets with which the least is padded then.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Seconds: TypeAlias = NDArray[np.float64]
Epoch: TypeAlias = list[list[int]]  # the utterances of each batch
Epochs: TypeAlias = Callable[[int], Epoch]  # those of an epoch of this number

ROUNDS = 6  # of the search for the bound
NEAR = 0.02  # what is near enough; small data in many buckets never come there


@dataclass(frozen=True)
class Fit:
    """Settings of a sampler, and what they make of the data."""

    max_seconds: float  # padded, of a batch
    num_buckets: int
    batch_seconds: float  # of audio, on average
    padding: float  # share of what is computed


def lhotse_epochs(seconds: Seconds, max_seconds: float, num_buckets: int, seed: int) -> Epochs:
    """Epochs of `DynamicBucketingSampler`, whose buffers hold all utterances."""
    from lhotse import CutSet, MonoCut
    from lhotse.dataset import DynamicBucketingSampler

    cuts = [MonoCut(str(i), start=0.0, duration=float(length), channel=0) for i, length in enumerate(seconds)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a lazy list would save memory
        sampler = DynamicBucketingSampler(
            CutSet.from_cuts(cuts), max_duration=max_seconds, num_buckets=num_buckets,
            shuffle=True, seed=seed, world_size=1, rank=0,
        )  # fmt: skip

    def epoch(number: int) -> Epoch:
        sampler.set_epoch(number)
        return [[int(cut.id) for cut in batch] for batch in sampler]

    return epoch


def speechbrain_epochs(seconds: Seconds, max_seconds: float, num_buckets: int, seed: int) -> Epochs:
    """Epochs of `DynamicBatchSampler`, in random order as its recipes have it."""
    from speechbrain.dataio.sampler import DynamicBatchSampler

    sampler = DynamicBatchSampler(
        range(len(seconds)), max_seconds, num_buckets=num_buckets, lengths_list=seconds.tolist(),
        shuffle=True, batch_ordering="random", seed=seed,
    )  # fmt: skip

    def epoch(number: int) -> Epoch:
        sampler.set_epoch(number)
        return [list(batch) for batch in sampler]

    return epoch


SAMPLERS = {"lhotse": lhotse_epochs, "speechbrain": speechbrain_epochs}
# lhotse's default is 10 and icefall's recipes have 30; SpeechBrain has no default, and advises to try. With more, what
# is left over in each bucket at the end of an epoch makes many small batches of a few thousand utterances.
NUM_BUCKETS = {"lhotse": (5, 10, 30, 60), "speechbrain": (10, 30, 60, 100)}


def endless(epochs: Epochs) -> Iterator[list[int]]:
    """Yields the batches of one epoch after the other."""
    for number in count():
        yield from epochs(number)


def best_fit(name: str, seconds: Seconds, step_seconds: float) -> Fit:
    """Returns the settings of a sampler of `SAMPLERS` with the least padding at `step_seconds` of audio a batch."""
    fits = [_fit(name, seconds, step_seconds, num_buckets) for num_buckets in NUM_BUCKETS[name]]
    near = [fit for fit in fits if abs(fit.batch_seconds / step_seconds - 1) < NEAR]
    return min(near or fits, key=lambda fit: fit.padding)


def _fit(name: str, seconds: Seconds, step_seconds: float, num_buckets: int) -> Fit:
    """Moves the bound until a batch has `step_seconds` of audio on average; the nearest of all tries."""
    max_seconds, fits = step_seconds, []
    for _ in range(ROUNDS):
        batches = SAMPLERS[name](seconds, max_seconds, num_buckets, 0)(0)
        padded = sum(len(batch) * seconds[batch].max() for batch in batches)
        batch_seconds = float(seconds.sum() / len(batches))
        fits.append(Fit(max_seconds, num_buckets, batch_seconds, float(1 - seconds.sum() / padded)))
        max_seconds *= step_seconds / batch_seconds
    return min(fits, key=lambda fit: abs(fit.batch_seconds - step_seconds))
