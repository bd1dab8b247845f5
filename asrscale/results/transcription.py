"""Recordings of any format and length to text with the times of its words.

A long recording is cut into overlapping windows that begin on the frames of the whole: each frame is taken from the
window in whose middle it lies, so the best path, its text and its times are joined without a seam. A short recording
is one window, so that its text is the one that an evaluation finds. docs/decisions/word-times.md says why the times are
those of the greedy path.

Shapes: T samples.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from asrscale.common.errors import AudioError
from asrscale.common.progress import Progress
from asrscale.data.batches import MIN_BATCH_SAMPLES
from asrscale.data.hashing import Ids
from asrscale.data.passes import cut_step
from asrscale.model.forward import count_frames, forward_logits
from asrscale.model.recognizer import Recognizer
from asrscale.speech import ctc_text
from asrscale.speech.decoding import decode_long
from asrscale.speech.frames import FrameGeometry
from asrscale.speech.pcm import SAMPLE_RATE_HZ, Pcm

WINDOW_SECONDS = 20  # checkpoints are trained on utterances of up to about as much

# What is cut off reaches the frames beside a cut directly through wav2vec2's positional convolution, 64 frames or
# 1.28 s to either side: 2 s are beyond that.
CONTEXT_SECONDS = 2

# Recordings that together last this long are in memory at once, and their windows sorted by length.
GROUP_SAMPLES = 1_200 * SAMPLE_RATE_HZ


@dataclass(frozen=True, eq=False)
class Window:
    """A part of a recording that is computed at once."""

    samples: Pcm  # (T,)
    own_frames: slice  # the frames that are taken from this window; those beside them are its context


def transcribe_files(
    files: Sequence[str], recognizer: Recognizer, *, memory_cap_seconds: float, bar: Progress
) -> Iterator[dict[str, Any]]:
    """Yields a row for each recording that can be read, in their order; a line beside the bar says why for the others.

    Args:
        files: Different ones.
        recognizer: Transcribes, on the device that its model is on.
        memory_cap_seconds: Padded audio of a pass.
        bar: Counts the files.

    Yields:
        `file`, `seconds`, what `words_of_path` returns, and the `language` of the model's training data, if known.
    """
    group: dict[str, Pcm] = {}
    for file in files:
        try:
            group[file] = _read_recording(file)
        except AudioError as error:
            bar.write(f"{file} is left out: {error}")
        is_full = sum(map(len, group.values())) >= GROUP_SAMPLES
        if is_full or file == files[-1]:
            yield from _transcribe_group(group, recognizer, memory_cap_seconds, bar)
            group = {}
        bar.advance()


def _read_recording(file: str) -> Pcm:
    """Returns the samples of a recording; raises AudioError where it cannot be read."""
    if not Path(file).is_file():
        raise AudioError("missing: no such file")
    return decode_long(file)


def _transcribe_group(
    group: dict[str, Pcm], recognizer: Recognizer, cap_seconds: float, bar: Progress
) -> Iterator[dict[str, Any]]:
    """Yields the rows of recordings, by their files; none where there are none."""
    if not group:
        return
    paths = best_paths(list(group.values()), recognizer, cap_seconds, bar)
    for (file, pcm), path in zip(group.items(), paths, strict=True):
        row = {"file": file, "seconds": len(pcm) / SAMPLE_RATE_HZ, **words_of_path(path, recognizer)}
        language = recognizer.text_rules.language if recognizer.text_rules else ""
        yield row | ({"language": language} if language else {})


def best_paths(recordings: Sequence[Pcm], recognizer: Recognizer, cap_seconds: float, bar: Progress) -> list[list[int]]:
    """Returns the best path of each recording, at least one: a token id for each frame of the whole.

    `cap_seconds` is the padded audio of a pass; the note of `bar` counts the windows that are done.
    """
    stride = recognizer.geometry.stride_samples
    windows: list[Window] = []
    recording_of_window: list[int] = []
    for number, pcm in enumerate(recordings):
        own_windows = cut_windows(pcm, stride)
        windows += own_windows
        recording_of_window += [number] * len(own_windows)

    found: dict[int, list[int]] = {}
    for numbers in _cut_passes(windows, cap_seconds):
        paths = _own_paths([windows[number] for number in numbers], recognizer)
        found.update(zip(numbers.tolist(), paths, strict=True))
        bar.advance(0, f"{len(found):,} of {len(windows):,} windows")

    whole_paths: list[list[int]] = [[] for _ in recordings]
    for number, recording in enumerate(recording_of_window):
        whole_paths[recording] += found[number]
    return whole_paths


def _cut_passes(windows: Sequence[Window], cap_seconds: float) -> list[Ids]:
    """Returns the numbers of the windows of each pass, which have similar lengths."""
    lengths = np.array([max(len(window.samples), MIN_BATCH_SAMPLES) for window in windows])
    cap_samples = max(int(cap_seconds * SAMPLE_RATE_HZ), int(lengths.max()))
    [passes] = cut_step([np.arange(len(windows))], lengths, memory_cap_samples=cap_samples, world_size=1)
    return passes


def _own_paths(windows: Sequence[Window], recognizer: Recognizer) -> list[list[int]]:
    """Returns the token ids of each window's own frames; the windows are computed as one pass."""
    model = recognizer.model
    clips = [torch.from_numpy(window.samples) for window in windows]
    shortest_batch = torch.zeros(MIN_BATCH_SAMPLES, dtype=torch.int16)  # padded with the others, then dropped
    waveforms = pad_sequence([*clips, shortest_batch], batch_first=True)[:-1]
    num_samples = torch.tensor([len(clip) for clip in clips])
    num_frames = count_frames(model, num_samples).tolist()
    with torch.no_grad():
        logits = forward_logits(model, recognizer, waveforms.to(model.device), num_samples.to(model.device))
    paths = logits.argmax(-1).tolist()
    return [path[:frames][window.own_frames] for window, path, frames in zip(windows, paths, num_frames, strict=True)]


def cut_windows(pcm: Pcm, stride: int) -> list[Window]:
    """Returns overlapping windows of (T,) samples, whose own frames together are all of the whole, each once.

    `stride` is the samples from one frame to the next.
    """
    window_frames = WINDOW_SECONDS * SAMPLE_RATE_HZ // stride
    context_frames = CONTEXT_SECONDS * SAMPLE_RATE_HZ // stride
    total_frames = len(pcm) // stride
    starts = range(0, max(1, total_frames - 2 * context_frames), window_frames - 2 * context_frames)
    windows = []
    for start in starts:
        is_last = start == starts[-1]
        first_own = 0 if start == 0 else context_frames
        end_own = None if is_last else window_frames - context_frames
        end_sample = len(pcm) if is_last else (start + window_frames) * stride
        windows.append(Window(pcm[start * stride : end_sample], own_frames=slice(first_own, end_own)))
    return windows


def words_of_path(path: list[int], recognizer: Recognizer) -> dict[str, Any]:
    """Returns the `text` of a path, and its `words`: each its `word`, `start_seconds` and `end_seconds`."""
    geometry = recognizer.geometry
    words = ctc_text.words_of_path(path, recognizer.vocabulary)
    return {
        "text": " ".join(word.text for word in words),
        "words": [
            {
                "word": word.text,
                "start_seconds": _start_seconds(word.start_frame, geometry),
                "end_seconds": _start_seconds(word.end_frame, geometry),
            }
            for word in words
        ],
    }


def _start_seconds(frame: int, geometry: FrameGeometry) -> float:
    """Returns the time at which a frame starts, to the millisecond."""
    samples = float(frame) * geometry.stride_samples + geometry.offset_samples
    return round(max(0.0, samples / SAMPLE_RATE_HZ), 3)
