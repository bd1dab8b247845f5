"""An n-gram model to be asked for the probabilities of words.

Every n-gram is a state, the words behind which another word comes: EMPTY is that of no word, then come the words by
their ids, then the n-grams of two words, of three, and so on, within an order sorted by their keys: the state of the
first n - 1 words, and the last word. So the keys of all orders together are sorted, and one search finds an n-gram. The
arrays may be those of a file that several processes share.

Shapes: V words, G n-grams of two words and more, S = 1 + V + G states, of which the first C, which are those of all
orders but the highest, may be the context of a word.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from asrscale.ngrams.tokens import SENTENCE_END, SENTENCE_START, UNKNOWN

EMPTY = 0  # the state in which nothing is known of the words before

Integers: TypeAlias = npt.NDArray[np.integer]
Logs: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class NgramModel:
    """An n-gram model in backing-off form, as ARPA files have it.

    Attributes:
        words: Beginning with SPECIAL_WORDS; the id of a word is its position.
        sizes: How many n-grams each order has, from that of words on.
        keys: (G,) ascending, of the n-grams of two words and more.
        log10_probabilities: (S,) of the last word of each state behind the others.
        log10_backoffs: (C,) weights of backing off from each state.
        suffixes: (C,) the longest other state that has the last words of each.
    """

    words: Sequence[str]
    sizes: tuple[int, ...]
    keys: Integers
    log10_probabilities: Logs
    log10_backoffs: Logs
    suffixes: Integers

    @property
    def order(self) -> int:
        """Returns the most words of an n-gram."""
        return len(self.sizes)

    @cached_property
    def bits(self) -> int:
        """Returns how many bits of a key hold the last word."""
        return word_bits(len(self.words))

    @cached_property
    def ids(self) -> dict[str, int]:
        """Returns the id of each word."""
        return {word: id for id, word in enumerate(self.words)}

    def advance(self, state: int, word: int) -> tuple[float, int]:
        """Returns the log10 probability of a word in a state, and the state behind it."""
        backoff = 0.0
        context = state
        found = self._find(context, word)
        while found is None:
            backoff += float(self.log10_backoffs[context])
            context = int(self.suffixes[context])
            found = self._find(context, word)
        log10_probability = backoff + float(self.log10_probabilities[found])
        while found is None or found >= len(self.log10_backoffs):  # of the highest order, which is no context
            context = int(self.suffixes[context])
            found = self._find(context, word)
        return log10_probability, found

    def _find(self, context: int, word: int) -> int | None:
        """Returns the state of the words of a context and another one; None where the model has no such n-gram."""
        if context == EMPTY:
            return 1 + word
        key = context << self.bits | word
        row = int(self.keys.searchsorted(key))
        if row == len(self.keys) or self.keys[row] != key:
            return None
        return 1 + len(self.words) + row

    @cached_property
    def start(self) -> int:
        """Returns the state at the beginning of a sentence."""
        return 1 + SENTENCE_START

    def log10_sentence(self, words: Iterable[str]) -> list[float]:
        """Returns the log10 probabilities of the words of a sentence and of its end."""
        state = self.start
        scores: list[float] = []
        for id in [*(self.ids.get(word, UNKNOWN) for word in words), SENTENCE_END]:
            score, state = self.advance(state, id)
            scores.append(score)
        return scores


def word_bits(num_words: int) -> int:
    """Returns how many bits of a key hold the last word."""
    return max(1, (num_words - 1).bit_length())
