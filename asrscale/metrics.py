"""Word and character errors, as counts that add up over utterances and ranks."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import chain

import jiwer
import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1_000  # the ends of an interval then vary by a few hundredths of its width


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


def rates_with_intervals(amounts: NDArray[np.int32]) -> dict[str, float]:
    """WER and CER of (N, 4) `ErrorCounts.amounts` of samples, and the ends of their 95 % intervals.

    The percentile bootstrap of Bisani and Ney (2004), "Bootstrap estimates for confidence intervals in ASR performance
    evaluation". How often each of N samples is drawn is multinomial, and samples of equal counts are drawn together.
    """
    distinct, times = np.unique(amounts, axis=0, return_counts=True)
    rng, chances = np.random.default_rng(0), times / len(amounts)  # 20 at once: one takes 8 N bytes if all differ
    drawn = np.concatenate([rng.multinomial(len(amounts), chances, 20) @ distinct for _ in range(RESAMPLES // 20)])
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
