"""Error rates with bootstrap intervals.

Shapes: N samples, R resamples. The `amounts` of a sample are the four numbers of `metrics.Amounts`, in their order.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1_000  # the ends of an interval then vary by a few hundredths of its width
RESAMPLES_AT_ONCE = 20  # each takes 8 N bytes where the counts of all samples differ
ENDS_PERCENT = (2.5, 97.5)  # of a 95 % interval

# A speaker's utterances err alike: resampled one by one they would promise too much. Whole speakers can be resampled
# where there are some; with less than about 20 that is too narrow as well (Cameron, Gelbach and Miller 2008).
MIN_SPEAKERS = 20

NO_SPEAKER = -1  # the number of an unknown speaker


def rates_by_speaker(amounts: NDArray[np.int32], speakers: NDArray[np.int32]) -> dict[str, Any]:
    """Returns the error rates of utterances, their intervals, and what was resampled for these.

    Whole speakers are resampled where all are known and enough, else utterances.

    Args:
        amounts: (N, 4) of each utterance.
        speakers: (N,) numbers of their speakers, or `NO_SPEAKER`.

    Returns:
        `utterances`, `words`, `characters`, what `rates_with_intervals` returns, and `resampled`.
    """
    samples, resampled = independent_samples(amounts, speakers)
    return {
        "utterances": len(amounts),
        "words": int(amounts[:, 1].sum()),
        "characters": int(amounts[:, 3].sum()),
        **rates_with_intervals(samples),
        "resampled": resampled,
    }


def independent_samples(amounts: NDArray[np.int32], speakers: NDArray[np.int32]) -> tuple[NDArray[np.int32], str]:
    """Returns (…, C) what may be resampled one by one, and what that is: `speakers` or `utterances`.

    Args:
        amounts: (N, C) of each utterance.
        speakers: (N,) numbers of their speakers, or `NO_SPEAKER`.
    """
    names, places = np.unique(speakers, return_inverse=True)
    if len(names) < MIN_SPEAKERS or NO_SPEAKER in names:
        return amounts, "utterances"
    samples = np.zeros((len(names), amounts.shape[1]), np.int32)
    np.add.at(samples, places, amounts)
    return samples, "speakers"


def rates_with_intervals(amounts: NDArray[np.int32]) -> dict[str, float]:
    """Returns WER and CER of samples with (N, 4) amounts, and the ends of their 95 % intervals.

    The percentile bootstrap of Bisani and Ney (2004), "Bootstrap estimates for confidence intervals in ASR performance
    evaluation".
    """
    wer, cer = error_rates(amounts.sum(axis=0)).tolist()
    lows, highs = np.percentile(error_rates(_resampled_sums(amounts)), ENDS_PERCENT, axis=0).tolist()
    return {
        "wer": wer,
        "cer": cer,
        "wer_low": lows[0],
        "cer_low": lows[1],
        "wer_high": highs[0],
        "cer_high": highs[1],
    }


def _resampled_sums(amounts: NDArray[np.int32]) -> NDArray[np.int64]:
    """Returns the (R, 4) sums of N samples that are drawn with replacement from (N, 4), R times; always the same draws.

    How often each of N samples is drawn is multinomial, and samples of equal counts are drawn together.
    """
    distinct, times = np.unique(amounts, axis=0, return_counts=True)
    chances = times / len(amounts)
    rng = np.random.default_rng(0)
    sums = [
        rng.multinomial(len(amounts), chances, RESAMPLES_AT_ONCE) @ distinct
        for _ in range(RESAMPLES // RESAMPLES_AT_ONCE)
    ]
    return np.concatenate(sums)


def error_rates(sums: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns (…, 2) WER and CER of (…, 4) summed amounts."""
    edits = sums[..., ::2]
    reference_sizes = sums[..., 1::2]
    rates: NDArray[np.float64] = edits / np.maximum(1, reference_sizes)
    return rates
