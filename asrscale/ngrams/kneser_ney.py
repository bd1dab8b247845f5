"""Interpolated modified Kneser-Ney: counts of n-grams to probabilities and weights of backing off.

Chen and Goodman (1998), "An empirical study of smoothing techniques for language modeling"; pruning, n-grams at the
beginning of a sentence and the probability of unknown words are as in lmplz (Heafield et al., 2013, "Scalable modified
Kneser-Ney language model estimation"), so that both make the same model of the same text.

Shapes: G n-grams of an order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from asrscale.ngrams.array_files import Keys, new_array
from asrscale.ngrams.counting import Order, chunks
from asrscale.ngrams.tokens import SENTENCE_START

Floats: TypeAlias = npt.NDArray[np.float64]

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)  # of lmplz, where counts are too few to estimate any


@dataclass(frozen=True)
class Discounts:
    """What is taken from counts of 1, of 2, and of 3 and more."""

    amounts: tuple[float, float, float]
    is_fallback: bool  # whether the text is too small, or too regular, to estimate them

    def of(self, counts: Keys) -> Floats:
        """Returns (G,) what is taken from each count."""
        return np.array([0.0, *self.amounts])[np.minimum(counts, 3)]


@dataclass(frozen=True, eq=False)
class Estimate:
    """The probabilities of the n-grams of an order.

    Attributes:
        discounts: What was taken from their counts.
        probabilities: (G,) of the last word behind the others.
        backoffs: (G,) weight of the order below, where an n-gram is the context of a word that it was not seen with.
        is_kept: (G,) whether pruning leaves it.
    """

    discounts: Discounts
    probabilities: Floats
    backoffs: Floats
    is_kept: npt.NDArray[np.bool_]


def estimate_orders(orders: Sequence[Order], prune: Sequence[int], folder: Path) -> list[Estimate]:
    """Returns the probabilities of the n-grams of each order, in files in `folder`.

    Args:
        orders: Their counts, from those of words on.
        prune: For each order, the largest count that is left out; zero for words, and never smaller than that of the
            order below.
        folder: For files.
    """
    estimates: list[Estimate] = []
    for n, order in enumerate(orders, 1):
        above = orders[n] if n < len(orders) else None
        counts = _adjusted_counts(order, above, new_array(folder / f"adjusted-{n}", len(order), np.int64))
        is_kept = new_array(folder / f"kept-{n}", len(order), np.bool_)
        for part in chunks(len(order)):
            is_kept[part] = order.counts[part] > prune[n - 1] if n > 1 else True
        if n == 1:
            counts[SENTENCE_START] = 0  # it follows no word
        discounts = discounts_of(_counts_of_counts(counts))
        probabilities = new_array(folder / f"probabilities-{n}", len(order), np.float64)
        if n == 1:
            _estimate_words(counts, discounts, probabilities)
        else:
            _estimate_order(order, counts, is_kept, discounts, estimates[-1], probabilities, folder)
        backoffs = new_array(folder / f"backoffs-{n}", len(order), np.float64)
        for part in chunks(len(order)):
            backoffs[part] = 1.0
        estimates.append(Estimate(discounts, probabilities, backoffs, is_kept))
        (folder / f"adjusted-{n}").unlink()  # read no more
    return estimates


def _adjusted_counts(order: Order, above: Order | None, counts: Keys) -> Keys:
    """Fills (G,) counts: behind how many different words each n-gram occurs; of the highest order, how often.

    Nothing is before the beginning of a sentence: n-grams that begin with its mark keep their counts.
    """
    if above is None:
        for part in chunks(len(order)):
            counts[part] = order.counts[part]
        return counts
    for part in chunks(len(above)):
        suffixes, times = np.unique(above.suffixes[part], return_counts=True)
        counts[suffixes] += times
    counts[order.own_start] = order.counts[order.own_start]
    return counts


def _counts_of_counts(counts: Keys) -> Keys:
    """Returns (5,) how many n-grams have the count 0, 1, 2, 3 and 4."""
    found = np.zeros(5, np.int64)
    for part in chunks(len(counts)):
        found += np.bincount(np.minimum(counts[part], 5), minlength=6)[:5]
    return found


def discounts_of(counts_of_counts: Keys) -> Discounts:
    """Returns the discounts of an order (Chen and Goodman, equation 26), or FALLBACK_DISCOUNTS where there are none.

    Args:
        counts_of_counts: (5,) how many n-grams have the count 0, 1, 2, 3 and 4.
    """
    n = counts_of_counts.tolist()
    if 0 in n[1:4]:
        return Discounts(FALLBACK_DISCOUNTS, is_fallback=True)
    y = n[1] / (n[1] + 2 * n[2])
    one, two, more = (count - (count + 1) * y * n[count + 1] / n[count] for count in (1, 2, 3))
    if not (0 <= one <= 1 and 0 <= two <= 2 and 0 <= more <= 3):
        return Discounts(FALLBACK_DISCOUNTS, is_fallback=True)
    return Discounts((one, two, more), is_fallback=False)


def _estimate_words(counts: Keys, discounts: Discounts, probabilities: Floats) -> None:
    """Fills the probabilities of words: what discounts take is for all words alike, and the unknown one among them."""
    total = float(counts.sum())
    taken = float(discounts.of(counts).sum())
    num_words = len(counts) - 1  # none is the mark of a sentence's beginning
    probabilities[:] = (counts - discounts.of(counts)) / total + taken / total / num_words
    probabilities[SENTENCE_START] = 0.0


def _estimate_order(
    order: Order,
    counts: Keys,
    is_kept: npt.NDArray[np.bool_],
    discounts: Discounts,
    below: Estimate,
    probabilities: Floats,
    folder: Path,
) -> None:
    """Fills the probabilities of an order, and the weights of backing off from the order below to that below it."""
    totals = new_array(folder / "totals", len(below.probabilities), np.float64)
    for part in chunks(len(totals)):
        totals[part] = 0.0
        below.backoffs[part] = 0.0
    for part in chunks(len(order)):
        taken = np.where(is_kept[part], discounts.of(counts[part]), counts[part])
        for sums, values in ((totals, counts[part]), (below.backoffs, taken)):
            _add_by_row(sums, order.prefixes[part], values)
    for part in chunks(len(totals)):
        is_context = totals[part] > 0
        below.backoffs[part] = np.where(is_context, below.backoffs[part] / np.maximum(totals[part], 1), 1.0)
    for part in chunks(len(order)):
        prefixes = order.prefixes[part]
        own = (counts[part] - discounts.of(counts[part])) / totals[prefixes]
        probabilities[part] = own + below.backoffs[prefixes] * below.probabilities[order.suffixes[part]]


def _add_by_row(sums: Floats, rows: Keys, values: Keys | Floats) -> None:
    """Adds values to the sums of their rows, which are in ascending order."""
    starts = np.flatnonzero(np.concatenate([[True], rows[1:] != rows[:-1]]))
    sums[rows[starts]] += np.add.reduceat(values, starts)
