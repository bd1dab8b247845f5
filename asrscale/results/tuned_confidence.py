"""The temperatures at which confidences are what they say, of the best paths and of a search, on validation data."""

from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np

from asrscale.common.distributed import World
from asrscale.data.index import Index
from asrscale.decoding.confidence import agreement, confidences_of_spans, shares, token_spans
from asrscale.decoding.decoder import Decoder, LogProbabilities
from asrscale.results.calibration import fit_temperature
from asrscale.results.comparison import comparable
from asrscale.results.metrics import right_words
from asrscale.speech.ctc_text import text_of_path
from asrscale.speech.vocabulary import Vocabulary

# The log-probabilities (F, V) of utterances, each after its number in the index.
Kept = Sequence[tuple[int, LogProbabilities]]


def fit_best_paths(vocabulary: Vocabulary, index: Index, kept: Kept, world: World) -> float | None:
    """Returns the temperature of the best paths, as `fit_temperature` does; a collective."""
    measured = []
    right: list[bool] = []
    for utterance, frames in kept:
        path = frames.argmax(-1).tolist()
        spans = token_spans(path, vocabulary)
        of_words = _right(index, utterance, text_of_path(path, vocabulary))
        if len(of_words) == len(spans):
            right += of_words
            measured.append((frames, path, spans))

    def confidences_at(temperature: float) -> list[float]:
        return _join(
            confidences_of_spans(spans, _ln_of_path(frames, path, temperature)) for frames, path, spans in measured
        )

    return fit_temperature(confidences_at, right, world)


def fit_search(decoder: Decoder, index: Index, kept: Kept, world: World) -> float | None:
    """Returns the temperature of a search, as `fit_temperature` does; a collective."""
    measured = []
    right: list[bool] = []
    for utterance, frames in kept:
        found = decoder.texts(frames)
        words = found[0][0].split()
        of_words = _right(index, utterance, found[0][0])
        if len(of_words) == len(words):
            right += of_words
            agrees = agreement(words, [text.split() for text, _ in found])
            measured.append(([score for _, score in found], agrees))

    def confidences_at(temperature: float) -> list[float]:
        return _join((shares(scores, temperature) @ agrees).tolist() for scores, agrees in measured)

    return fit_temperature(confidences_at, right, world)


def _right(index: Index, utterance: int, text: str) -> list[bool]:
    """Returns whether each word of a text is right, once it is normalised as the transcripts are."""
    [reference], [compared] = comparable(index, [(utterance, text)])
    return right_words(reference, compared)


def _ln_of_path(frames: LogProbabilities, path: Sequence[int], temperature: float) -> LogProbabilities:
    """Returns (F,) ln of the probabilities of a path's tokens, of (F, V) log-probabilities over a temperature."""
    scaled = frames / np.float32(temperature)
    own: LogProbabilities = scaled[np.arange(len(path)), path]
    own -= np.logaddexp.reduce(scaled, axis=1)
    return own


def _join(lists: Iterable[list[float]]) -> list[float]:
    return list(chain.from_iterable(lists))
