"""How sure a model is of each word that it recognises.

docs/decisions/confidence.md says why these measures and not others.

Shapes: F frames, W words of a text.
"""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from rapidfuzz.distance import Levenshtein

from asrscale.speech.ctc_text import SpokenWord, words_of_path
from asrscale.speech.vocabulary import Vocabulary

LnProbabilities: TypeAlias = npt.NDArray[np.floating]


def path_confidences(path: Sequence[int], ln_probabilities: LnProbabilities, vocabulary: Vocabulary) -> list[float]:
    """Returns (W,) how sure a model is of each word of its best path: the product over the word's tokens.

    A token counts with the most that it has in any of its frames; frames beside that say only where it is.

    Args:
        path: (F,) token ids.
        ln_probabilities: (F,) of these tokens; NaN counts as never.
        vocabulary: Of the tokens.
    """
    return confidences_of_spans(token_spans(path, vocabulary), ln_probabilities)


def token_spans(path: Sequence[int], vocabulary: Vocabulary) -> list[list[slice]]:
    """Returns for each word of a path the frames of each of its tokens."""
    return [_spans_of_word(path, word, vocabulary.blank_id) for word in words_of_path(path, vocabulary)]


def _spans_of_word(path: Sequence[int], word: SpokenWord, blank: int) -> list[slice]:
    spans = []
    frame = word.start_frame
    for token, repeated in groupby(path[word.start_frame : word.end_frame]):
        end = frame + sum(1 for _ in repeated)
        if token != blank:
            spans.append(slice(frame, end))
        frame = end
    return spans


def confidences_of_spans(words: Sequence[Sequence[slice]], ln_probabilities: LnProbabilities) -> list[float]:
    """Returns `path_confidences` of words whose tokens are in these frames."""
    sums = [sum(float(ln_probabilities[span].max()) for span in spans) for spans in words]
    return [0.0 if math.isnan(total) else math.exp(total) for total in sums]


def shares(scores: Sequence[float], temperature: float) -> npt.NDArray[np.float64]:
    """Returns the share of each text in all: e to the power of its score over the temperature, scaled to a sum of 1.

    Args:
        scores: Of different texts, at least one; those that are no finite number have no share.
        temperature: Above 0; more makes shares more equal.
    """
    values = np.asarray(scores, np.float64)
    values = np.where(np.isfinite(values), values, -np.inf)
    if np.isneginf(values).all():
        return np.zeros(len(values))
    powers = np.exp((values - values.max()) / temperature)
    found: npt.NDArray[np.float64] = powers / powers.sum()
    return found


def agreement(text: Sequence[str], others: Sequence[Sequence[str]]) -> npt.NDArray[np.bool_]:
    """Returns (O, W) whether each of O other texts has each word of a text in its place, both aligned."""
    agrees = np.zeros((len(others), len(text)), bool)
    for number, other in enumerate(others):
        for block in Levenshtein.opcodes(text, other).as_matching_blocks():
            agrees[number, block.a : block.a + block.size] = True
    return agrees


def posterior_confidences(text: Sequence[str], found: Sequence[tuple[str, float]], temperature: float) -> list[float]:
    """Returns (W,) the share of the texts that have each word of a text, of all that a search has found.

    That is the posterior probability of a word by a list of the best texts (Wessel et al. 2001, "Confidence measures
    for large vocabulary continuous speech recognition").

    Args:
        text: Its words.
        found: Texts with their scores, that one among them.
        temperature: Of their shares.
    """
    agrees = agreement(text, [other.split() for other, _ in found])
    sums: list[float] = (shares([score for _, score in found], temperature) @ agrees).tolist()
    return sums


def confidence_of_text(confidences: Sequence[float]) -> float | None:
    """Returns which share of its words a text has right, as expected by their confidences; None without words."""
    return math.fsum(confidences) / len(confidences) if confidences else None
