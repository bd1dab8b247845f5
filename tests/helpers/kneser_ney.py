"""Interpolated modified Kneser-Ney from its formulas, one n-gram at a time: what fast code is compared with."""

from collections import Counter
from collections.abc import Sequence
from random import Random

Ngram = tuple[str, ...]


class BruteForce:
    """The model of a few sentences."""

    def __init__(self, sentences: Sequence[Sequence[str]], order: int, prune: Sequence[int] | None = None) -> None:
        self.order = order
        self.prune = prune or [0] * order
        padded = [("<s>", *sentence, "</s>") for sentence in sentences]
        self.raw = [
            Counter(line[start : start + n] for line in padded for start in range(len(line) - n + 1))
            for n in range(1, order + 1)
        ]
        self.words = sorted({word for line in padded for word in line} | {"<unk>"})
        self.adjusted = [self._adjusted(n) for n in range(1, order + 1)]
        self.discounts = [self._discounts(counts) for counts in self.adjusted]

    def _adjusted(self, n: int) -> dict[Ngram, int]:
        if n == self.order:
            return dict(self.raw[n - 1])
        adjusted = {}
        for ngram, count in self.raw[n - 1].items():
            before = {longer[0] for longer in self.raw[n] if longer[1:] == ngram}
            adjusted[ngram] = count if ngram[0] == "<s>" and n > 1 else len(before)
        return adjusted

    @staticmethod
    def _discounts(counts: dict[Ngram, int]) -> list[float]:
        n1, n2, n3, n4 = (sum(count == wanted for count in counts.values()) for wanted in (1, 2, 3, 4))
        if not (n1 and n2 and n3):
            return [0, 0.5, 1, 1.5]
        y = n1 / (n1 + 2 * n2)
        found = [0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
        is_possible = all(0 <= discount <= count for count, discount in enumerate(found))
        return found if is_possible else [0, 0.5, 1, 1.5]

    def ngrams(self, n: int) -> set[Ngram]:
        """What pruning leaves of an order."""
        if n == 1:
            return {(word,) for word in self.words}
        return {ngram for ngram, count in self.raw[n - 1].items() if count > self.prune[n - 1]}

    def probability(self, ngram: Ngram) -> float:
        """Of the last word behind the others, all of which were seen together."""
        n = len(ngram)
        counts = self.adjusted[n - 1]
        behind = {other: count for other, count in counts.items() if other[:-1] == ngram[:-1]}
        count = counts.get(ngram, 0)
        own = (count - self.discounts[n - 1][min(count, 3)]) / sum(behind.values())
        if n == 1:
            taken = sum(self.discounts[0][min(count, 3)] for count in behind.values())
            return own + taken / sum(behind.values()) / (len(self.words) - 1)
        return own + self.backoff(ngram[:-1]) * self.probability(ngram[1:])

    def backoff(self, context: Ngram) -> float:
        """The weight of the probability that the shorter context gives."""
        n = len(context) + 1
        behind = {other: count for other, count in self.adjusted[n - 1].items() if other[:-1] == context}
        if not behind:
            return 1.0
        kept = self.ngrams(n)
        taken = [self.discounts[n - 1][min(count, 3)] if other in kept else count for other, count in behind.items()]
        return sum(taken) / sum(behind.values())


def random_sentences(random: Random, count: int) -> list[list[str]]:
    """Sentences of a few words, some of them often; drawn by `random`."""
    words = ["a", "b", "c", "d", "e", "f", "g"]
    return [random.choices(words, [8, 4, 4, 2, 2, 1, 1], k=random.randint(0, 6)) for _ in range(count)]
