"""Word and character errors, as counts that add up over utterances and ranks."""

import dataclasses
from collections.abc import Sequence

import jiwer
import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1_000  # the ends of an interval then vary by a few hundredths of its width


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

    @property
    def amounts(self) -> tuple[int, int, int, int]:
        """Word edits, reference words, character edits, reference characters."""
        counts = self.to_list()
        return sum(counts[2:5]), sum(counts[1:4]), sum(counts[6:9]), sum(counts[5:8])

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


def rates_with_intervals(amounts: NDArray[np.int64]) -> dict[str, float]:
    """WER and CER of (N, 4) `ErrorCounts.amounts` of samples, and the ends of their 95 % intervals.

    The percentile bootstrap of Bisani and Ney (2004), "Bootstrap estimates for confidence intervals in ASR performance
    evaluation". How often each of N samples is drawn is multinomial, and samples of equal counts are drawn together:
    memory does not grow with N.
    """
    distinct, times = np.unique(amounts, axis=0, return_counts=True)
    drawn = np.random.default_rng(0).multinomial(len(amounts), times / len(amounts), RESAMPLES) @ distinct
    rates = [sums[..., ::2] / np.maximum(1, sums[..., 1::2]) for sums in (amounts.sum(axis=0), drawn)]
    found = np.array([rates[0], *np.percentile(rates[1], (2.5, 97.5), axis=0)])
    return dict(zip(("wer", "cer", "wer_low", "cer_low", "wer_high", "cer_high"), found.ravel().tolist(), strict=True))


def differences(reference: str, hypothesis: str) -> str:
    """The words of both, aligned: those that differ as [said→heard]."""
    aligned = jiwer.process_words(reference, hypothesis)
    parts = []
    for chunk in aligned.alignments[0]:
        said = " ".join(aligned.references[0][chunk.ref_start_idx : chunk.ref_end_idx])
        heard = " ".join(aligned.hypotheses[0][chunk.hyp_start_idx : chunk.hyp_end_idx])
        parts.append(said if chunk.type == "equal" else f"[{said}→{heard}]")
    return " ".join(parts)


def _rate(hits: int, substitutions: int, deletions: int, insertions: int) -> float:
    """Edits / reference units; without any reference unit the number of insertions (jiwer's rule too), never NaN."""
    return (substitutions + deletions + insertions) / max(1, hits + substitutions + deletions)
