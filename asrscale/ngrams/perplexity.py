"""How well a language model foretells sentences."""

from collections.abc import Iterable
from dataclasses import dataclass

from asrscale.ngrams.model import NgramModel
from asrscale.ngrams.tokens import UNKNOWN


@dataclass(frozen=True)
class Perplexity:
    """What a model says of sentences, whose ends are words, too.

    Attributes:
        sentences: How many.
        words: How many, without the ends of sentences.
        unknown: How many of the words the model does not know.
        perplexity: Of all words and ends, unknown words with the probability of the unknown word.
        perplexity_of_known: Of the others.
    """

    sentences: int
    words: int
    unknown: int
    perplexity: float
    perplexity_of_known: float

    @property
    def unknown_rate(self) -> float:
        """The share of words that the model does not know."""
        return self.unknown / max(1, self.words)


def measure(model: NgramModel, sentences: Iterable[list[str]]) -> Perplexity:
    """Returns the perplexity of a model on sentences."""
    count = words = unknown = 0
    log10_all = log10_known = 0.0
    for sentence in sentences:
        scores = model.log10_sentence(sentence)
        is_unknown = [model.ids.get(word, UNKNOWN) == UNKNOWN for word in sentence]
        count += 1
        words += len(sentence)
        unknown += sum(is_unknown)
        log10_all += sum(scores)
        log10_known += sum(scores) - sum(score for score, missing in zip(scores, is_unknown, strict=False) if missing)
    return Perplexity(
        sentences=count,
        words=words,
        unknown=unknown,
        perplexity=_perplexity(log10_all, words + count),
        perplexity_of_known=_perplexity(log10_known, words + count - unknown),
    )


def _perplexity(log10_sum: float, terms: int) -> float:
    return float(10 ** (-log10_sum / terms)) if terms else float("nan")
