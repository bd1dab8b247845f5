"""Recordings of any format and length to text with the times of its words.

python -m asrscale.transcribe --model runs/cv/model meeting.mp3 call.wav --jsonl transcripts.jsonl

A long recording is cut into overlapping windows that begin on the frames of the whole: each frame is taken from the
window in whose middle it lies, so the best path, its text and its times are joined without a seam. A short one is heard
as `evaluate` does. docs/decisions/word-times.md says why the greedy path tells the times.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from asrscale.common.errors import AudioError
from asrscale.common.progress import Progress
from asrscale.data.batches import MIN_BATCH_SAMPLES
from asrscale.data.passes import cut_step
from asrscale.model.forward import count_frames, forward_logits
from asrscale.model.recognizer import Recognizer
from asrscale.speech.decoding import decode_long
from asrscale.speech.pcm import SAMPLE_RATE_HZ, Pcm

# Checkpoints are trained on utterances of up to about 20 s. What is cut off reaches the frames beside a cut directly
# through wav2vec2's positional convolution, 64 frames or 1.28 s to either side: 2 s are beyond that.
WINDOW_SECONDS, CONTEXT_SECONDS = 20, 2


# Recordings that together last this long are in memory at once, and their windows sorted by length.
GROUP_SAMPLES = 1_200 * SAMPLE_RATE_HZ


def transcribe_files(
    files: Sequence[str], recognizer: Recognizer, *, memory_cap_seconds: float, bar: Progress
) -> Iterator[dict[str, Any]]:
    """Transcribes different files in their order; says of one that cannot be read why, and leaves it out.

    `memory_cap_seconds` is the padded audio of a pass. A row has `file`, `seconds`, and what `words_of_path` tells.
    """
    group: dict[str, Pcm] = {}
    for file in files:
        try:
            if not Path(file).is_file():
                raise AudioError("missing: no such file")
            group[file] = decode_long(file)
        except AudioError as error:
            bar.write(f"{file} is left out: {error}")
        if sum(map(len, group.values())) >= GROUP_SAMPLES or file == files[-1]:
            paths = best_paths(list(group.values()), recognizer, memory_cap_seconds, bar) if group else []
            for (name, pcm), path in zip(group.items(), paths, strict=True):
                yield {"file": name, "seconds": len(pcm) / SAMPLE_RATE_HZ} | words_of_path(path, recognizer)
            group = {}
        bar.advance()


def best_paths(recordings: Sequence[Pcm], recognizer: Recognizer, cap_seconds: float, bar: Progress) -> list[list[int]]:
    """The best path of each recording, at least one: a token id for each frame of the whole."""
    stride = recognizer.stem.stride_samples
    windows = [(i, *window) for i, pcm in enumerate(recordings) for window in cut_windows(pcm, stride)]
    lengths = np.array([max(len(clip), MIN_BATCH_SAMPLES) for _, clip, _ in windows])
    cap_samples = max(int(cap_seconds * SAMPLE_RATE_HZ), int(lengths.max()))
    found: dict[int, list[int]] = {}
    step = [np.arange(len(windows))]
    for numbers in cut_step(step, lengths, memory_cap_samples=cap_samples, world_size=1)[0]:
        clips = [torch.from_numpy(windows[number][1]) for number in numbers]
        padded = pad_sequence([*clips, torch.zeros(MIN_BATCH_SAMPLES, dtype=torch.int16)], batch_first=True)[:-1]
        num_samples = torch.tensor([len(clip) for clip in clips])
        device, frames = recognizer.model.device, count_frames(recognizer.model, num_samples).tolist()
        with torch.no_grad():
            logits = forward_logits(recognizer.model, recognizer, padded.to(device), num_samples.to(device))
        for number, path, count in zip(numbers.tolist(), logits.argmax(-1).tolist(), frames, strict=True):
            found[number] = path[:count][windows[number][2]]
        bar.advance(0, f"{len(found):,} of {len(windows):,} windows")
    paths: list[list[int]] = [[] for _ in recordings]
    for number, (i, _, _) in enumerate(windows):
        paths[i] += found[number]
    return paths


def cut_windows(pcm: Pcm, stride: int) -> list[tuple[Pcm, slice]]:
    """Overlapping windows of (T,) samples, and which frames of each count: together all of the whole, each once.

    `stride` is the samples from one frame to the next.
    """
    size, context = (seconds * SAMPLE_RATE_HZ // stride for seconds in (WINDOW_SECONDS, CONTEXT_SECONDS))
    starts = range(0, max(1, len(pcm) // stride - 2 * context), size - 2 * context)
    windows = []
    for start in starts:
        is_last = start == starts[-1]
        counts = slice(context if start else 0, None if is_last else size - context)
        windows.append((pcm[start * stride : len(pcm) if is_last else (start + size) * stride], counts))
    return windows


def words_of_path(path: list[int], recognizer: Recognizer) -> dict[str, Any]:
    """The `text` of a path, and its `words`: each its `word`, `start_seconds` and `end_seconds`."""
    frame_seconds = recognizer.stem.stride_samples / SAMPLE_RATE_HZ
    decoded = recognizer.processor.tokenizer.decode(path, output_word_offsets=True)
    words = [
        {"word": found["word"]}
        | {f"{edge}_seconds": round(float(found[f"{edge}_offset"]) * frame_seconds, 3) for edge in ("start", "end")}
        for found in decoded.word_offsets
    ]
    return {"text": decoded.text, "words": words}
