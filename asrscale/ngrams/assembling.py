"""Estimated n-grams of all orders to a model, whose arrays are in files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asrscale.ngrams.array_files import Keys, new_array
from asrscale.ngrams.corpus import Corpus
from asrscale.ngrams.counting import Order, chunks, count_orders
from asrscale.ngrams.kneser_ney import Discounts, Estimate, estimate_orders
from asrscale.ngrams.model import EMPTY, NgramModel, word_bits

LOG10_OF_ZERO = -99.0  # of the mark of a sentence's beginning, as in ARPA files


def build_model(
    corpus: Corpus, order: int, prune: Sequence[int], folder: Path
) -> tuple[NgramModel, tuple[Discounts, ...]]:
    """Returns the model of a corpus, with files in `folder`, and the discounts of each order.

    Args:
        corpus: The text.
        order: The most words of an n-gram, from 2 on.
        prune: For each order, the largest count that is left out, as for `estimate_orders`.
        folder: For files; the arrays of the model are among them.
    """
    orders = count_orders(corpus, order, folder)
    estimates = estimate_orders(orders, prune, folder)
    sizes = tuple(int(np.count_nonzero(estimate.is_kept)) for estimate in estimates)
    states = 1 + sum(sizes)
    contexts = 1 + sum(sizes[:-1])
    model = NgramModel(
        words=corpus.words,
        sizes=sizes,
        keys=new_array(folder / "model_keys", sum(sizes[1:]), np.int64),
        log10_probabilities=new_array(folder / "model_probabilities", states, np.float32),
        log10_backoffs=new_array(folder / "model_backoffs", contexts, np.float32),
        suffixes=new_array(folder / "model_suffixes", contexts, np.int64),
    )
    first_state = 1
    states_below: Keys | None = None
    for n, (counted, estimate) in enumerate(zip(orders, estimates, strict=True), 1):
        own_states = new_array(folder / f"states-{n}", len(counted), np.int64)
        _fill(model, counted, estimate, first_state, states_below, own_states)
        first_state += sizes[n - 1]
        states_below = own_states
    return model, tuple(estimate.discounts for estimate in estimates)


def _fill(
    model: NgramModel, order: Order, estimate: Estimate, first_state: int, states_below: Keys | None, own_states: Keys
) -> None:
    """Fills the entries of an order, beginning with `first_state`, and (G,) the state of each of its rows."""
    bits = word_bits(len(model.words))
    for part in chunks(len(order)):
        kept = part.start + np.flatnonzero(estimate.is_kept[part])
        to_fill = slice(first_state, first_state + len(kept))
        own_states[kept] = np.arange(to_fill.start, to_fill.stop)
        with np.errstate(divide="ignore"):
            logs = np.log10(estimate.probabilities[kept])
        model.log10_probabilities[to_fill] = np.maximum(logs, LOG10_OF_ZERO)
        if states_below is not None:
            keys = states_below[order.prefixes[kept]] << bits | order.last_words[kept]
            behind_words = 1 + len(model.words)
            model.keys[to_fill.start - behind_words : to_fill.stop - behind_words] = keys
        if to_fill.stop <= len(model.log10_backoffs):
            model.log10_backoffs[to_fill] = np.log10(estimate.backoffs[kept])
            model.suffixes[to_fill] = EMPTY if states_below is None else states_below[order.suffixes[kept]]
        first_state = to_fill.stop
