"""Which words and characters are taken for which: what the edits of many utterances are."""

import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from typing import TypeVar

from asrscale.results.metrics import Metric, Piece, aligned_pieces

MOST_DIFFERENT = 200_000  # pairs that are counted at once, about 50 MB: millions of utterances fit into any memory

Name = TypeVar("Name")


@dataclass
class Confusions:
    """Edits of words, or of characters, as jiwer aligns them.

    Attributes:
        metric: Whose edits they are: `wer` those of words, `cer` those of characters.
        substitutions: How often what was said was taken for what.
        deletions: How often what was said was not recognised.
        insertions: How often what was recognised was not said.
        totals: How many substitutions, deletions and insertions there are.
        is_exact: Whether all are counted. Where more than `MOST_DIFFERENT` are different, the rarest were dropped, and
            the counts of the others may be too low by the few that they had then.
    """

    metric: Metric
    substitutions: Counter[tuple[str, str]] = field(default_factory=Counter)
    deletions: Counter[str] = field(default_factory=Counter)
    insertions: Counter[str] = field(default_factory=Counter)
    totals: tuple[int, int, int] = (0, 0, 0)
    is_exact: bool = True

    def add(self, reference: str, hypothesis: str) -> None:
        """Adds the edits between the texts of an utterance."""
        substituted, deleted, inserted = self.totals
        for piece in aligned_pieces(reference, hypothesis, self.metric):
            expected, found = self._units(piece)
            if expected == found:
                continue
            if not expected:
                self.insertions.update(found)
                inserted += len(found)
            elif not found:
                self.deletions.update(expected)
                deleted += len(expected)
            else:
                self.substitutions.update(zip(expected, found, strict=True))
                substituted += len(expected)
        self.totals = substituted, deleted, inserted
        self._drop_rare()

    def _units(self, piece: Piece) -> tuple[list[str], list[str]]:
        """Returns the words or characters of both sides of a piece."""
        expected, found = piece
        return (expected.split(), found.split()) if self.metric == "wer" else (list(expected), list(found))

    def _drop_rare(self) -> None:
        """Halves counters that have grown too large."""
        self.substitutions = self._frequent(self.substitutions)
        self.deletions = self._frequent(self.deletions)
        self.insertions = self._frequent(self.insertions)

    def _frequent(self, counter: Counter[Name]) -> Counter[Name]:
        """Returns a counter, or the more frequent half of one that has grown too large."""
        if len(counter) <= MOST_DIFFERENT:
            return counter
        self.is_exact = False
        return Counter(dict(counter.most_common(MOST_DIFFERENT // 2)))


def name_of(unit: str) -> str:
    """Returns what to call a word or a character in a table: a space has no ink, and an accent needs a letter."""
    if unit == " ":
        return "space"
    is_mark = len(unit) == 1 and unicodedata.category(unit).startswith("M")
    return f"◌{unit}" if is_mark else unit
