"""Word and character errors, as counts that add up over utterances and ranks."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import chain

import jiwer


@dataclass(frozen=True)
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

    @property
    def amounts(self) -> tuple[int, int, int, int]:
        """Word edits, reference words, character edits, reference characters."""
        counts = astuple(self)
        return sum(counts[2:5]), sum(counts[1:4]), sum(counts[6:9]), sum(counts[5:8])

    @property
    def wer(self) -> float:
        """Word error rate: edits / reference words; where there is no word, the number of insertions, as jiwer says."""
        return self.amounts[0] / max(1, self.amounts[1])

    @property
    def cer(self) -> float:
        """Character error rate, spaces included: edits / reference characters; without any, as `wer`."""
        return self.amounts[2] / max(1, self.amounts[3])


def count_errors(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorCounts:
    """Aligns each hypothesis with its reference and counts the edits.

    jiwer's own rules, so that its numbers are ours: outer spaces count for nothing, words are cut at runs of spaces,
    an inner space is a character; case and punctuation count as they stand. Of an empty reference, every word of the
    hypothesis is an insertion.

    Raises:
        ValueError: The lists differ in length.
    """
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references but {len(hypotheses)} hypotheses")
    if not references:
        return ErrorCounts()  # jiwer takes an empty list for one empty utterance
    words = jiwer.process_words(list(references), list(hypotheses))
    characters = jiwer.process_characters(list(references), list(hypotheses))
    counts = ((one.hits, one.substitutions, one.deletions, one.insertions) for one in (words, characters))
    return ErrorCounts(len(references), *chain.from_iterable(counts))


def aligned_differences(reference: str, hypothesis: str) -> str:
    """The words of both, aligned: those that differ as [said→heard]."""
    aligned = jiwer.process_words(reference, hypothesis)
    parts = []
    for chunk in aligned.alignments[0]:
        said = " ".join(aligned.references[0][chunk.ref_start_idx : chunk.ref_end_idx])
        heard = " ".join(aligned.hypotheses[0][chunk.hyp_start_idx : chunk.hyp_end_idx])
        parts.append(said if chunk.type == "equal" else f"[{said}→{heard}]")
    return " ".join(parts)
