"""What an epoch visits of data with weights: whole copies of shards, a part of a last one, repeats kept apart.

A shard of weight 2.5 is in the plan of a run as three *pieces*: two of all its utterances, and one of half of them,
drawn anew in each epoch. The windows of a run are made of pieces, so that the repeats of a shard are spread over them.
Where all weights are 1, pieces are shards.

Shapes: S shards, P pieces, N utterances of a window, V visits.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asrscale.data.catalog import Catalog
from asrscale.data.epoch_plan import EpochPlan, plan_window
from asrscale.data.hashing import Ids, hash_keys

# The fewest steps that are planned together: with fewer, the utterances of a unit would differ more in length.
MIN_ROUND_STEPS = 10

# Unlike the salts of epoch_plan and run_plan.
_VISIT_SALT = 21
_ROUND_SALT = 22


@dataclass(frozen=True, eq=False)
class Pieces:
    """The pieces of a run's shards, those of a shard beside each other."""

    shards: Ids  # (P,) of which shard each is
    shares: NDArray[np.float64]  # (P,) of its utterances that an epoch visits, above 0 and up to 1

    def samples(self, catalog: Catalog) -> Ids:
        """Returns (P,) the samples of each that an epoch visits, on average and rounded up."""
        visited: Ids = np.ceil(catalog.samples[self.shards] * self.shares).astype(np.int64)
        return visited

    def utterances(self, catalog: Catalog) -> Ids:
        """Returns (P,) the utterances of each that an epoch visits, on average and rounded up."""
        visited: Ids = np.ceil(catalog.utterances[self.shards] * self.shares).astype(np.int64)
        return visited


def cut_pieces(weights: NDArray[np.float64]) -> Pieces:
    """Returns the pieces of shards: for each as many whole ones as fit its weight, and one of what is left of it.

    Args:
        weights: (S,) how often an epoch visits each utterance of a shard, on average.
    """
    whole = np.floor(weights).astype(np.int64)
    rest = weights - whole
    counts = whole + (rest > 0)
    shares = np.ones(counts.sum())
    last_pieces = np.cumsum(counts) - 1
    shares[last_pieces[rest > 0]] = rest[rest > 0]
    return Pieces(shards=np.repeat(np.arange(len(weights)), counts), shares=shares)


def count_visits(pieces: Pieces, own: Ids, shard_ids: NDArray[np.int32], *, seed: int, epoch: int, window: int) -> Ids:
    """Returns (N,) how often an epoch visits each utterance of a window.

    Which utterances the part of a shard has is decided by a hash of the utterance, which is turned further in each
    epoch by the part's share of the circle: an utterance is visited when it comes past zero. So E epochs visit it
    E × share times, rounded up or down, where E independent draws would leave some out for long.

    Args:
        pieces: Of the run.
        own: The numbers of the window's pieces.
        shard_ids: (N,) the shard of each utterance.
        seed: The run's seed.
        epoch: 0-based.
        window: The window's number.
    """
    is_whole = pieces.shares[own] == 1
    num_shards = int(pieces.shards[-1]) + 1
    whole_copies = np.bincount(pieces.shards[own[is_whole]], minlength=num_shards)
    turns = np.zeros(num_shards, np.uint64)
    parts = own[~is_whole]
    turns[pieces.shards[parts]] = (pieces.shares[parts] * 2.0**64).astype(np.uint64)

    turn = turns[shard_ids]
    angles = hash_keys(len(shard_ids), seed, window, _VISIT_SALT)
    turned = angles + turn * np.uint64(epoch + 1)  # modulo 2^64, a whole turn
    return whole_copies[shard_ids] + (turned < turn)


def plan_visits(
    lengths: Ids,
    visits: Ids,
    *,
    seed: int,
    epoch: int,
    window: int,
    steps: int,
    units_per_step: int,
    frames: Ids | None = None,
    even_steps: bool = True,
) -> EpochPlan:
    """Plans the visits of a window in rounds, one after another, so that no step has an utterance twice if it can be.

    Repeats have nearly the same length, and would be in one unit where all are planned together. Without repeats
    there is one round, and the plan is that of `plan_window`.

    Args:
        lengths: (V,) samples of each visit, the repeats of an utterance beside each other.
        visits: (N,) how often each utterance is visited.
        seed: The run's seed.
        epoch: 0-based.
        window: The window's number.
        steps: Of all rounds together.
        units_per_step: Units in a step.
        frames: (V,) as `plan_window` takes them.
        even_steps: As `plan_window` takes it.
    """
    most_visits = int(visits.max(initial=1))
    num_rounds = max(1, min(most_visits, steps // MIN_ROUND_STEPS))
    rounds = _deal_to_rounds(visits, num_rounds, hash_keys(len(visits), seed, epoch, window, _ROUND_SALT))
    utterances: list[Ids] = []
    unit_bounds: list[Ids] = []
    for number in range(num_rounds):
        own = np.flatnonzero(rounds == number)
        first_step, end_step = steps * number // num_rounds, steps * (number + 1) // num_rounds
        planned = plan_window(
            lengths[own],
            seed=seed,
            epoch=epoch,
            window=window,
            steps=end_step - first_step,
            units_per_step=units_per_step,
            frames=None if frames is None else frames[own],
            even_steps=even_steps,
        )
        unit_bounds.append(planned.unit_bounds + sum(len(of_round) for of_round in utterances))
        utterances.append(own[planned.utterances])
    return EpochPlan(utterances=np.concatenate(utterances), unit_bounds=np.concatenate(unit_bounds))


def _deal_to_rounds(visits: Ids, num_rounds: int, keys: NDArray[np.uint64]) -> Ids:
    """Returns (V,) the round of each visit: those of an utterance as far apart as they can be, from a drawn one on."""
    first_rounds = np.repeat(keys % np.uint64(num_rounds), visits).astype(np.int64)
    first_visits = np.cumsum(visits) - visits
    repeats = np.arange(visits.sum()) - np.repeat(first_visits, visits)
    rounds: Ids = (first_rounds + repeats * num_rounds // np.repeat(visits, visits)) % num_rounds
    return rounds
