"""Logits of a pass to texts with confidences: by the best path, or by a decoder with a language model.

Shapes: B utterances of a pass, F frames, V tokens.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from asrscale.decoding.confidence import path_confidences, posterior_confidences
from asrscale.decoding.decoder import Decoder, LogProbabilities
from asrscale.model.forward import greedy_texts
from asrscale.model.recognizer import Recognizer
from asrscale.speech.ctc_text import text_of_path


class Hypothesis(NamedTuple):
    """What is recognised in an utterance; it is written to a file as a list.

    Attributes:
        text: The best text.
        confidences: Of each of its words, which spaces part.
        uncalibrated: The same at a temperature of 1, as the model has them without calibration.
        alternatives: The best texts with their scores, the best first, as many as the decoder was asked for.
    """

    text: str
    confidences: Sequence[float] = ()
    uncalibrated: Sequence[float] = ()
    alternatives: Sequence[tuple[str, float]] = ()


# What is recognised, of utterances' numbers in the index, logits (B, F, V) and (B,) true frames.
TextReader: TypeAlias = Callable[[list[int], Tensor, Tensor], list[Hypothesis]]


def plain_reader(recognizer: Recognizer) -> TextReader:
    """Returns what reads the texts of the best paths, of the likeliest token of each frame, without confidences."""
    return lambda utterances, logits, num_frames: [
        Hypothesis(text) for text in greedy_texts(recognizer, logits, num_frames)
    ]


def text_reader(recognizer: Recognizer, decoder: Decoder | None = None) -> TextReader:
    """Returns what reads texts with confidences, without a decoder those of the best paths."""
    if decoder is None:
        return lambda utterances, logits, num_frames: _read_best_paths(recognizer, logits, num_frames)
    return lambda utterances, logits, num_frames: [
        _read_best_texts(decoder, frames) for frames in log_probabilities_of(logits, num_frames)
    ]


def _read_best_paths(recognizer: Recognizer, logits: Tensor, num_frames: Tensor) -> list[Hypothesis]:
    paths = logits.argmax(-1)
    calibrated = of_tokens(logits, paths, recognizer.temperature).cpu().numpy()
    uncalibrated = of_tokens(logits, paths, 1.0).cpu().numpy()
    hypotheses = []
    for number, (path, count) in enumerate(zip(paths.tolist(), num_frames.tolist(), strict=True)):
        own, vocabulary = path[:count], recognizer.vocabulary
        confidences = path_confidences(own, calibrated[number], vocabulary)
        plain = path_confidences(own, uncalibrated[number], vocabulary)
        hypotheses.append(Hypothesis(text_of_path(own, vocabulary), _rounded(confidences), _rounded(plain)))
    return hypotheses


def of_tokens(logits: Tensor, paths: Tensor, temperature: float) -> Tensor:
    """Returns (B, F) ln probabilities of the tokens of paths (B, F), of logits over a temperature; float32."""
    return torch.log_softmax(logits.float() / temperature, -1).gather(-1, paths[..., None])[..., 0]


def _read_best_texts(decoder: Decoder, frames: LogProbabilities) -> Hypothesis:
    found = decoder.texts(frames)
    words = found[0][0].split()
    return Hypothesis(
        found[0][0],
        _rounded(posterior_confidences(words, found, decoder.temperature)),
        _rounded(posterior_confidences(words, found, 1.0)),
        [(text, round(score, 3)) for text, score in found[: decoder.alternatives]],
    )


def _rounded(confidences: list[float]) -> list[float]:
    """Returns confidences as they are kept: more digits would say nothing."""
    return [round(confidence, 4) for confidence in confidences]


def keeping_reader(recognizer: Recognizer, kept: list[tuple[int, LogProbabilities]]) -> TextReader:
    """Returns what reads the texts of the best paths, and keeps the frames that they are read from in `kept`."""
    read_plain = plain_reader(recognizer)

    def read(utterances: list[int], logits: Tensor, num_frames: Tensor) -> list[Hypothesis]:
        kept.extend(zip(utterances, log_probabilities_of(logits, num_frames), strict=True))
        return read_plain(utterances, logits, num_frames)

    return read


def log_probabilities_of(logits: Tensor, num_frames: Tensor) -> Iterator[LogProbabilities]:
    """Yields the (F, V) log-probabilities of the true frames of each utterance."""
    all_frames = torch.log_softmax(logits.float(), -1).cpu().numpy()
    for frames, count in zip(all_frames, num_frames.tolist(), strict=True):
        yield np.ascontiguousarray(frames[:count])
