"""Logits of a pass to texts: by the best path, or by a decoder with a language model."""

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from asrscale.decoding.decoder import Decoder, LogProbabilities
from asrscale.model.forward import greedy_texts
from asrscale.model.recognizer import Recognizer

# The text of each utterance, of their numbers in the index, logits (B, F, V) and (B,) true frames.
TextReader: TypeAlias = Callable[[list[int], Tensor, Tensor], list[str]]


def text_reader(recognizer: Recognizer, decoder: Decoder | None = None) -> TextReader:
    """Returns what reads texts, without a decoder those of the best paths: of the likeliest token of each frame."""
    if decoder is None:
        return lambda utterances, logits, num_frames: greedy_texts(recognizer, logits, num_frames)
    return lambda utterances, logits, num_frames: [
        decoder.text(frames) for frames in log_probabilities_of(logits, num_frames)
    ]


def keeping_reader(recognizer: Recognizer, kept: list[tuple[int, LogProbabilities]]) -> TextReader:
    """Returns what reads the texts of the best paths, and keeps the frames that they are read from in `kept`."""

    def read(utterances: list[int], logits: Tensor, num_frames: Tensor) -> list[str]:
        kept.extend(zip(utterances, log_probabilities_of(logits, num_frames), strict=True))
        return greedy_texts(recognizer, logits, num_frames)

    return read


def log_probabilities_of(logits: Tensor, num_frames: Tensor) -> Iterator[LogProbabilities]:
    """Yields the (F, V) log-probabilities of the true frames of each utterance."""
    all_frames = torch.log_softmax(logits.float(), -1).cpu().numpy()
    for frames, count in zip(all_frames, num_frames.tolist(), strict=True):
        yield np.ascontiguousarray(frames[:count])
