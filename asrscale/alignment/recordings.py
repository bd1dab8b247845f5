"""A recording of any length and its text to the times of words."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asrscale.alignment.aligning import AlignedWord, Span, align_words
from asrscale.alignment.script import read_script
from asrscale.common.errors import AudioError
from asrscale.common.progress import Progress
from asrscale.model.recognizer import Recognizer
from asrscale.results.transcription import end_word, logits_of_windows, start_seconds
from asrscale.results.windows import Window, stream_windows
from asrscale.speech.decoding import stream_pcm
from asrscale.speech.frames import FrameGeometry
from asrscale.speech.normalisation import NEUTRAL
from asrscale.speech.pcm import SAMPLE_RATE_HZ, Pcm

# A piece that is aligned by itself: long enough that what is beside its ends hardly matters, short enough to be quick.
PIECE_SECONDS = 30

GROUP_WINDOWS = 60  # are decoded at once: twenty minutes


def align_recording(
    file: str, text: str, recognizer: Recognizer, *, memory_cap_seconds: float, bar: Progress
) -> dict[str, Any]:
    """Returns when each word of a text is spoken in a recording.

    Args:
        file: The recording.
        text: What is spoken in it.
        recognizer: On the device that its model is on.
        memory_cap_seconds: Padded audio of a pass.
        bar: Its note counts the windows that are computed.

    Returns:
        `file`, `seconds`, `text`, and `words`: each its `word` as it is written, and `start_seconds`, `end_seconds`,
        `score`, `characters` with their own, which are None or empty where nothing of a word is spoken.

    Raises:
        AudioError: The recording cannot be read, or text and recording do not belong together.
    """
    if not Path(file).is_file():
        raise AudioError("missing: no such file")
    rules = recognizer.text_rules or NEUTRAL
    script = read_script(text, rules, recognizer.vocabulary)
    if not any(word.labels for word in script):
        raise AudioError("empty: no letter of its text is one of the model's")
    log_probabilities, num_samples = _log_probabilities(file, recognizer, memory_cap_seconds, bar)
    piece_frames = PIECE_SECONDS * SAMPLE_RATE_HZ // recognizer.geometry.stride_samples
    aligned = align_words(script, log_probabilities, recognizer.vocabulary, piece_frames=piece_frames)
    return {
        "file": file,
        "seconds": num_samples / SAMPLE_RATE_HZ,
        "text": " ".join(word.written for word in script),
        "words": [_row(word, recognizer) for word in aligned],
    }


def _log_probabilities(
    file: str, recognizer: Recognizer, memory_cap_seconds: float, bar: Progress
) -> tuple[Tensor, int]:
    """Returns the log-probabilities (F, V) of a recording, float32 on the CPU, and how many samples it has."""
    num_samples = 0

    def counted() -> Iterator[Pcm]:
        nonlocal num_samples
        for piece in stream_pcm(file):
            num_samples += len(piece)
            yield piece

    windows = stream_windows(counted(), recognizer.geometry)
    found: list[Tensor] = []
    while group := list(islice(windows, GROUP_WINDOWS)):
        found += _of_windows(group, recognizer, memory_cap_seconds)
        bar.advance(0, f"{len(found):,} windows")
    return torch.cat(found), num_samples


def _of_windows(windows: list[Window], recognizer: Recognizer, cap_seconds: float) -> list[Tensor]:
    """Returns the log-probabilities (F, V) of the own frames of each window."""
    found: dict[int, Tensor] = {}
    for number, logits in logits_of_windows(windows, recognizer, cap_seconds):
        if windows[number].ends_in_pause:
            # So the words on both sides are anchors. But blank stays possible: a text need not have a word between.
            end_word(logits, recognizer.vocabulary, blank_less_nats=1.0)
        found[number] = torch.log_softmax(logits.float(), -1).cpu()
    return [found[number] for number in range(len(windows))]


def _row(aligned: AlignedWord, recognizer: Recognizer) -> dict[str, Any]:
    """Returns a word with its times, and those of its characters."""
    tokens = recognizer.vocabulary.tokens
    geometry = recognizer.geometry
    characters = []
    if aligned.span:
        for label, span in zip(aligned.word.labels, aligned.characters, strict=True):
            characters.append({"character": tokens[label], **_times(span, geometry)})
    return {"word": aligned.word.written, **_times(aligned.span, geometry), "characters": characters}


def _times(span: Span | None, geometry: FrameGeometry) -> dict[str, float | None]:
    """Returns start, end and score of a span; None of each where there is none."""
    if span is None:
        return {"start_seconds": None, "end_seconds": None, "score": None}
    start, end = start_seconds(span.start, geometry), start_seconds(span.end, geometry)
    return {"start_seconds": start, "end_seconds": end, "score": round(span.score, 4)}
