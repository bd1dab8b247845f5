"""Bootstrap intervals of error rates."""

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1_000  # the ends of an interval then vary by a few hundredths of its width


def rates_with_intervals(amounts: NDArray[np.int32]) -> dict[str, float]:
    """WER and CER of (N, 4) `ErrorCounts.amounts` of samples, and the ends of their 95 % intervals.

    The percentile bootstrap of Bisani and Ney (2004), "Bootstrap estimates for confidence intervals in ASR performance
    evaluation". How often each of N samples is drawn is multinomial, and samples of equal counts are drawn together.
    """
    distinct, times = np.unique(amounts, axis=0, return_counts=True)
    rng, chances = np.random.default_rng(0), times / len(amounts)  # 20 at once: one takes 8 N bytes if all differ
    drawn = np.concatenate([rng.multinomial(len(amounts), chances, 20) @ distinct for _ in range(RESAMPLES // 20)])
    rates = [sums[..., ::2] / np.maximum(1, sums[..., 1::2]) for sums in (amounts.sum(axis=0), drawn)]
    found = np.array([rates[0], *np.percentile(rates[1], (2.5, 97.5), axis=0)])
    return dict(zip(("wer", "cer", "wer_low", "cer_low", "wer_high", "cer_high"), found.ravel().tolist(), strict=True))
