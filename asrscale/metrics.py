"""Word and character errors, as counts that add up over utterances and ranks."""

import dataclasses
from collections.abc import Sequence

import jiwer


@dataclasses.dataclass(frozen=True)
class ErrorCounts:
    """Edits between transcripts and hypotheses; rates are taken once, from sums, never averaged."""

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
        """The counts of both sets of utterances together."""
        return ErrorCounts.from_list([a + b for a, b in zip(self.to_list(), other.to_list(), strict=True)])

    @property
    def wer(self) -> float:
        """Word error rate: edits / reference words; see `_rate` for a corpus without words."""
        return _rate(self.word_hits, self.word_substitutions, self.word_deletions, self.word_insertions)

    @property
    def cer(self) -> float:
        """Character error rate, spaces included: edits / reference characters."""
        return _rate(
            self.character_hits, self.character_substitutions, self.character_deletions, self.character_insertions
        )

    def to_list(self) -> list[int]:
        """The counts in the order of the fields, to be summed over ranks."""
        return list(dataclasses.astuple(self))

    @classmethod
    def from_list(cls, counts: Sequence[int]) -> "ErrorCounts":
        """The inverse of `to_list`."""
        return cls(*counts)


def count_errors(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorCounts:
    """Aligns each hypothesis with its reference and counts the edits.

    jiwer's own rules, so that its numbers are ours: outer spaces count for nothing, words are cut at runs of spaces,
    an inner space is a character; case and punctuation count as they stand. An empty reference is allowed: every
    word of its hypothesis is an insertion.

    Args:
        references: What was said, one transcript an utterance.
        hypotheses: What was recognised, in the same order.

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


def _rate(hits: int, substitutions: int, deletions: int, insertions: int) -> float:
    """Edits / reference units; without any reference unit the number of insertions (jiwer's rule too), never NaN."""
    return (substitutions + deletions + insertions) / max(1, hits + substitutions + deletions)
