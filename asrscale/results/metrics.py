"""Word and character errors, as counts that add up over utterances and ranks."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Literal, NamedTuple, TypeAlias

import jiwer

# The error rate of words or that of characters.
Metric: TypeAlias = Literal["wer", "cer"]

METRIC_NAMES: dict[Metric, str] = {"wer": "word error rate", "cer": "character error rate"}
UNITS: dict[Metric, str] = {"wer": "word", "cer": "character"}


def both_metrics(first: Metric) -> tuple[Metric, Metric]:
    """Returns both metrics in the order in which they are shown and compared: the deciding one first."""
    return ("wer", "cer") if first == "wer" else ("cer", "wer")


class Amounts(NamedTuple):
    """What the error rates of some utterances are made of; an edit is a substitution, a deletion or an insertion."""

    word_edits: int
    words: int  # in the references
    character_edits: int
    characters: int  # in the references, inner spaces included

    def edits(self, metric: Metric) -> int:
        """Returns the edits that a metric counts."""
        return self.word_edits if metric == "wer" else self.character_edits


@dataclass(frozen=True)
class ErrorCounts:
    """Edits between references and hypotheses; rates are taken once, from sums, never averaged."""

    utterances: int = 0
    word_hits: int = 0
    word_substitutions: int = 0
    word_deletions: int = 0
    word_insertions: int = 0
    character_hits: int = 0
    character_substitutions: int = 0
    character_deletions: int = 0
    character_insertions: int = 0

    def __add__(self, other: "ErrorCounts") -> "ErrorCounts":
        pairs = zip(astuple(self), astuple(other), strict=True)
        return ErrorCounts(*(own + others for own, others in pairs))

    @property
    def amounts(self) -> Amounts:
        """The edits, and the size of the references."""
        return Amounts(
            word_edits=self.word_substitutions + self.word_deletions + self.word_insertions,
            words=self.word_hits + self.word_substitutions + self.word_deletions,
            character_edits=self.character_substitutions + self.character_deletions + self.character_insertions,
            characters=self.character_hits + self.character_substitutions + self.character_deletions,
        )

    @property
    def wer(self) -> float:
        """Word error rate: edits / reference words; without any of these the number of insertions, as in jiwer."""
        return self.amounts.word_edits / max(1, self.amounts.words)

    @property
    def cer(self) -> float:
        """Character error rate, spaces included: edits / reference characters; without any of these as `wer`."""
        return self.amounts.character_edits / max(1, self.amounts.characters)

    def rate(self, metric: Metric) -> float:
        """Returns the error rate of a metric."""
        return self.wer if metric == "wer" else self.cer

    def kinds(self, metric: Metric) -> tuple[int, int, int]:
        """Returns the substitutions, deletions and insertions that a metric counts."""
        if metric == "wer":
            return self.word_substitutions, self.word_deletions, self.word_insertions
        return self.character_substitutions, self.character_deletions, self.character_insertions


def count_errors(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorCounts:
    """Aligns each hypothesis with its reference and returns the edits of all.

    The rules are jiwer's: outer spaces are dropped, words are cut at runs of spaces, an inner space is a character;
    case and punctuation count. Of an empty reference, every word of the hypothesis is an insertion.

    Raises:
        ValueError: The lists differ in length.
    """
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references but {len(hypotheses)} hypotheses")
    if not references:
        return ErrorCounts()  # jiwer takes an empty list for one empty utterance
    words = jiwer.process_words(list(references), list(hypotheses))
    characters = jiwer.process_characters(list(references), list(hypotheses))
    return ErrorCounts(
        utterances=len(references),
        word_hits=words.hits,
        word_substitutions=words.substitutions,
        word_deletions=words.deletions,
        word_insertions=words.insertions,
        character_hits=characters.hits,
        character_substitutions=characters.substitutions,
        character_deletions=characters.deletions,
        character_insertions=characters.insertions,
    )


def right_words(reference: str, hypothesis: str) -> list[bool]:
    """Returns whether each word of a hypothesis is a word of the reference in its place, both aligned."""
    words = hypothesis.split()
    right = [False] * len(words)
    if words and reference.split():
        for chunk in jiwer.process_words(reference, hypothesis).alignments[0]:
            if chunk.type == "equal":
                right[chunk.hyp_start_idx : chunk.hyp_end_idx] = [True] * (chunk.hyp_end_idx - chunk.hyp_start_idx)
    return right


class Piece(NamedTuple):
    """A piece of two aligned texts: what was expected and what was found, either of which may be empty."""

    expected: str
    found: str


def aligned_pieces(reference: str, hypothesis: str, metric: Metric = "wer") -> list[Piece]:
    """Returns both texts aligned by words, or by characters for `cer`, cut into equal and different pieces."""
    align = jiwer.process_words if metric == "wer" else jiwer.process_characters
    between = " " if metric == "wer" else ""
    aligned = align(reference, hypothesis)
    [of_reference] = aligned.references
    [of_hypothesis] = aligned.hypotheses
    pieces = []
    for chunk in aligned.alignments[0]:
        expected = between.join(of_reference[chunk.ref_start_idx : chunk.ref_end_idx])
        found = between.join(of_hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx])
        pieces.append(Piece(expected, found))
    return pieces


def aligned_differences(reference: str, hypothesis: str, metric: Metric = "wer") -> str:
    """Returns both texts aligned by words, or by characters for `cer`; where they differ as [reference→hypothesis]."""
    between = " " if metric == "wer" else ""
    parts = []
    for expected, found in aligned_pieces(reference, hypothesis, metric):
        parts.append(expected if expected == found else f"[{expected}→{found}]")
    return between.join(parts)
