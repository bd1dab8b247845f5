"""Sentences of evaluation sets in the text of a language model, which would make it look better than it is."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

# A sentence of so many words is looked for inside longer lines, too. Shorter ones, as "yes please", are parts of much
# that is no leak: they are only known as whole lines.
MIN_WORDS_INSIDE = 6


@dataclass(eq=False)
class Leaks:
    """Which sentences of evaluation sets were met in a text.

    Attributes:
        left_out: How many lines of the text held one.
        examples: The first of them.
    """

    left_out: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, words: list[str]) -> None:
        """Counts a line."""
        self.left_out += 1
        if len(self.examples) < 3:
            self.examples.append(" ".join(words))


class EvaluationSentences:
    """The sentences of evaluation sets, to be looked for in lines of text."""

    def __init__(self, sentences: Iterable[list[str]]) -> None:
        self._whole: set[tuple[str, ...]] = set()
        self._by_beginning: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
        for sentence in map(tuple, sentences):
            self._whole.add(sentence)
            if len(sentence) >= MIN_WORDS_INSIDE:
                self._by_beginning.setdefault(sentence[:MIN_WORDS_INSIDE], set()).add(sentence)

    def __len__(self) -> int:
        return len(self._whole)

    def is_in(self, line: list[str]) -> bool:
        """Whether a line is one of the sentences, or has one of at least MIN_WORDS_INSIDE words inside."""
        words = tuple(line)
        if words in self._whole:
            return True
        for start in range(len(words) - MIN_WORDS_INSIDE + 1):
            candidates = self._by_beginning.get(words[start : start + MIN_WORDS_INSIDE], ())
            if any(words[start : start + len(candidate)] == candidate for candidate in candidates):
                return True
        return False


def without_leaks(
    sentences: Iterable[list[str]], of_evaluation: EvaluationSentences, leaks: Leaks
) -> Iterator[list[str]]:
    """Yields the sentences that hold none of an evaluation set; the others are counted in `leaks`."""
    if not len(of_evaluation):
        yield from sentences
        return
    for sentence in sentences:
        if of_evaluation.is_in(sentence):
            leaks.add(sentence)
        else:
            yield sentence
