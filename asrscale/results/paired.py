"""Two models on the same utterances: the difference of their error rates, how sure it is, and whether it is chance.

Shapes: N utterances or speakers. The `amounts` of each are the four numbers of `metrics.Amounts`, in their order.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asrscale.results.intervals import error_rates, independent_samples, rates_with_intervals
from asrscale.results.metrics import Metric

PERMUTATIONS = 10_000  # the smallest p-value is 1 in 10,001
SIGNS_AT_ONCE = 1_000_000  # of 8 bytes each, that are drawn at once

BOTH: tuple[Metric, Metric] = ("wer", "cer")


def paired_differences(
    amounts: NDArray[np.int32], others: NDArray[np.int32], speakers: NDArray[np.int32]
) -> dict[str, Any]:
    """Returns the error rates of two models and their difference, with its 95 % interval and p-value.

    Both are resampled together, as the same utterances are easy or hard for both (Bisani and Ney 2004; Koehn 2004):
    whole speakers where all are known and enough, as in `rates_by_speaker`.

    Args:
        amounts: (N, 4) of each utterance, by the one model.
        others: (N, 4) of the same utterances by the other, whose references are the same.
        speakers: (N,) numbers of their speakers, or `NO_SPEAKER`.

    Returns:
        `utterances`, `resampled`; and for `wer` and `cer` the rate, the other's as `other_wer`, and the difference as
        `wer_difference`, with `wer_difference_low` and `wer_difference_high`, and `wer_p`.
    """
    samples, resampled = independent_samples(np.hstack([amounts, others]), speakers)
    differences = samples[:, :4].copy()
    differences[:, ::2] -= samples[:, 4::2]
    intervals = rates_with_intervals(differences)
    rates = error_rates(samples[:, :4].sum(axis=0)).tolist()
    other_rates = error_rates(samples[:, 4:].sum(axis=0)).tolist()
    found: dict[str, Any] = {"utterances": len(amounts), "resampled": resampled}
    for place, metric in enumerate(BOTH):
        found |= {
            metric: rates[place],
            f"other_{metric}": other_rates[place],
            f"{metric}_difference": intervals[metric],
            f"{metric}_difference_low": intervals[f"{metric}_low"],
            f"{metric}_difference_high": intervals[f"{metric}_high"],
            f"{metric}_p": permutation_p_value(differences[:, 2 * place]),
        }
    return found


def permutation_p_value(differences: NDArray[np.integer[Any]]) -> float:
    """Returns how often chance alone gives a sum of differences at least as far from 0.

    Were the two models the same, each of the (N,) differences in edits might as well have the other sign: a permutation
    test by sign flips, with 10,000 drawn ones, the observed one among them (Phipson and Smyth 2010). Equal differences
    are flipped together: how many of them change their sign is binomial.
    """
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    observed = abs(int(differences.sum()))
    rng = np.random.default_rng(0)
    as_far = 0
    at_once = max(1, SIGNS_AT_ONCE // max(1, len(counts)))
    for first in range(0, PERMUTATIONS, at_once):
        flipped = rng.binomial(counts, 0.5, (min(at_once, PERMUTATIONS - first), len(counts)))
        sums = (counts - 2 * flipped) @ sizes.astype(np.int64)
        as_far += int(np.count_nonzero(np.abs(sums) >= observed))
    return (1 + as_far) / (1 + PERMUTATIONS)


def mean_and_scatter(rates: Sequence[float]) -> dict[str, float]:
    """Returns the mean, the sample standard deviation, and the ends of some rates, such as those of several seeds."""
    return {
        "mean": float(np.mean(rates)),
        "standard_deviation": float(np.std(rates, ddof=1)),
        "lowest": min(rates),
        "highest": max(rates),
    }
