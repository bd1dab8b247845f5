"""Recordings of any format and length to text with the times of its words.

A long recording is cut into windows, whose frames are joined to those of the whole: so the best path, its text and its
times have no seams. docs/decisions/word-times.md says why the times are those of the greedy path.

Shapes: T samples.
"""

import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asrscale.common.cli import STDIN
from asrscale.common.errors import AudioError
from asrscale.common.progress import Progress
from asrscale.data.batches import MIN_BATCH_SAMPLES
from asrscale.data.hashing import Ids
from asrscale.data.passes import cut_step
from asrscale.decoding.confidence import confidence_of_text, path_confidences
from asrscale.decoding.decoder import Decoder, Reading
from asrscale.model.forward import count_frames, forward_logits, has_padded_frames
from asrscale.model.recognizer import Recognizer
from asrscale.results.frame_texts import of_tokens
from asrscale.results.windows import Window, stream_windows
from asrscale.speech import ctc_text
from asrscale.speech.decoding import stream_pcm
from asrscale.speech.frames import FrameGeometry
from asrscale.speech.pcm import SAMPLE_RATE_HZ, Pcm
from asrscale.speech.vocabulary import Vocabulary

# Windows that together last this long are in memory at once, and sorted by length.
GROUP_SAMPLES = 1_200 * SAMPLE_RATE_HZ


# What is known of frames: (F,) their likeliest tokens with ln of the probabilities of these, or (F, V) of all tokens.
Frames: TypeAlias = npt.NDArray[Any]
_LIKELIEST = np.dtype([("token", np.int64), ("ln_probability", np.float32)])


@dataclass
class _Recording:
    """A recording whose windows are computed as they are decoded.

    Attributes:
        file: Its path.
        num_samples: How many are decoded so far.
        frames: What is known of its frames so far, as `_frames_of_windows` returns it.
        problem: Why it cannot be transcribed; "" where nothing is wrong so far.
    """

    file: str
    num_samples: int = 0
    frames: list[Frames] = field(default_factory=list)
    problem: str = ""


def transcribe_files(
    files: Sequence[str],
    recognizer: Recognizer,
    *,
    memory_cap_seconds: float,
    bar: Progress,
    decoder: Decoder | None = None,
) -> Iterator[dict[str, Any]]:
    """Yields a row for each recording that can be read, in their order; a line beside the bar says why for the others.

    However long a recording is, no more of it than GROUP_SAMPLES is in memory.

    Args:
        files: Different ones.
        recognizer: Transcribes, on the device that its model is on.
        memory_cap_seconds: Padded audio of a pass.
        bar: Counts the files.
        decoder: Finds the texts; by default those of the best paths.

    Yields:
        `file`, `seconds`, what `words_of` returns, and the `language` of the model's training data, if known.
    """
    done: list[_Recording] = []  # decoded to the end, but not yet all computed
    group: list[tuple[_Recording, Window]] = []
    group_samples = 0
    for file in files:
        recording = _Recording(file)
        for window in _read_windows(recording, recognizer.geometry):
            group.append((recording, window))
            group_samples += len(window.samples)
            if group_samples >= GROUP_SAMPLES:
                _compute(group, recognizer, memory_cap_seconds, bar, decoder)
                group, group_samples = [], 0
        if recording.problem:
            bar.write(f"{file} is left out: {recording.problem}")
            group = [(other, window) for other, window in group if other is not recording]
            group_samples = sum(len(window.samples) for _, window in group)
        else:
            done.append(recording)
        if file == files[-1]:
            _compute(group, recognizer, memory_cap_seconds, bar, decoder)
            group = []
        while done and not (group and done[0] is group[0][0]):
            yield _row(done.pop(0), recognizer, decoder)
        bar.advance()


def _read_windows(recording: _Recording, geometry: FrameGeometry) -> Iterator[Window]:
    """Yields the windows of a recording; ends where it cannot be read any further, and says so in `problem`."""
    if recording.file != STDIN and not Path(recording.file).is_file():
        recording.problem = "missing: no such file"
        return
    try:
        yield from stream_windows(_counted(recording), geometry)
    except AudioError as error:
        recording.problem = str(error)


def _counted(recording: _Recording) -> Iterator[Pcm]:
    """Yields the samples of a recording, piece by piece, and counts them."""
    is_pipe = recording.file == STDIN
    source = io.BytesIO(sys.stdin.buffer.read()) if is_pipe else recording.file
    for piece in stream_pcm(source):
        recording.num_samples += len(piece)
        yield piece


def _compute(
    group: Sequence[tuple[_Recording, Window]],
    recognizer: Recognizer,
    cap_seconds: float,
    bar: Progress,
    decoder: Decoder | None,
) -> None:
    """Adds the frames of windows to their recordings; there may be none."""
    if not group:
        return
    windows = [window for _, window in group]
    frames = _frames_of_windows(windows, recognizer, cap_seconds, bar, decoder)
    for (recording, _), own_frames in zip(group, frames, strict=True):
        recording.frames.append(own_frames)


def _row(recording: _Recording, recognizer: Recognizer, decoder: Decoder | None) -> dict[str, Any]:
    """Returns what is yielded of a recording that is computed to its end."""
    seconds = recording.num_samples / SAMPLE_RATE_HZ
    row = {
        "file": recording.file,
        "seconds": seconds,
        **words_of(_read(recording.frames, recognizer, decoder), recognizer),
    }
    language = recognizer.text_rules.language if recognizer.text_rules else ""
    return row | ({"language": language} if language else {})


def read_recordings(
    recordings: Sequence[Pcm],
    recognizer: Recognizer,
    cap_seconds: float,
    bar: Progress,
    decoder: Decoder | None = None,
) -> list[Reading]:
    """Returns what is heard in each recording, at least one: a token id for each frame of the whole, and confidences.

    Args:
        recordings: (T,) samples of each.
        recognizer: As for `transcribe_files`.
        cap_seconds: Padded audio of a pass.
        bar: Its note counts the windows that are done.
        decoder: As for `transcribe_files`; then the path is the likeliest that says the text that it finds.
    """
    windows: list[Window] = []
    recording_of_window: list[int] = []
    for number, pcm in enumerate(recordings):
        own_windows = list(stream_windows([pcm], recognizer.geometry))
        windows += own_windows
        recording_of_window += [number] * len(own_windows)

    whole: list[list[Frames]] = [[] for _ in recordings]
    frames = _frames_of_windows(windows, recognizer, cap_seconds, bar, decoder)
    for recording, own_frames in zip(recording_of_window, frames, strict=True):
        whole[recording].append(own_frames)
    return [_read(parts, recognizer, decoder) for parts in whole]


def _read(parts: Sequence[Frames], recognizer: Recognizer, decoder: Decoder | None) -> Reading:
    """Returns what is heard in a recording, of what is known of its frames."""
    frames = np.concatenate(parts)
    if decoder is not None:
        return decoder.read(frames)
    path: list[int] = frames["token"].tolist()
    return Reading(path, path_confidences(path, frames["ln_probability"], recognizer.vocabulary))


def _frames_of_windows(
    windows: Sequence[Window], recognizer: Recognizer, cap_seconds: float, bar: Progress, decoder: Decoder | None
) -> list[Frames]:
    """Returns the likeliest tokens of each window's own frames; for a decoder the log-probabilities of all tokens."""
    found: dict[int, Frames] = {}
    for number, logits in logits_of_windows(windows, recognizer, cap_seconds):
        if windows[number].ends_in_pause:
            _end_word(logits, recognizer.vocabulary)
        if decoder is None:
            found[number] = _likeliest(logits, recognizer.temperature)
        else:
            found[number] = torch.log_softmax(logits.float(), -1).cpu().numpy()
        bar.advance(0, f"{len(found):,} of {len(windows):,} windows")
    return [found[number] for number in range(len(windows))]


def _likeliest(logits: Tensor, temperature: float) -> Frames:
    """Returns the likeliest tokens of frames, of logits (F, V), with ln of their probabilities at a temperature."""
    tokens = logits.argmax(-1)
    frames = np.empty(len(tokens), _LIKELIEST)
    frames["token"] = tokens.cpu().numpy()
    frames["ln_probability"] = of_tokens(logits, tokens, temperature).cpu().numpy()
    return frames


_NEVER_NATS = 100.0


def _end_word(logits: Tensor, vocabulary: Vocabulary) -> None:
    """Has the last of (F, V) frames say the delimiter where it said blank: no word goes on in the next window."""
    if vocabulary.delimiter_id is None:
        return
    last = logits[-1]
    last[vocabulary.delimiter_id] = last[[vocabulary.delimiter_id, vocabulary.blank_id]].logsumexp(0)
    last[vocabulary.blank_id] -= _NEVER_NATS


def logits_of_windows(
    windows: Sequence[Window], recognizer: Recognizer, cap_seconds: float
) -> Iterator[tuple[int, Tensor]]:
    """Yields the number of each window and the logits (F, V) of its own frames, on the model's device, in any order."""
    for numbers in _cut_passes(windows, cap_seconds):
        own_logits = _own_logits([windows[number] for number in numbers], recognizer)
        yield from zip(numbers.tolist(), own_logits, strict=True)


def _cut_passes(windows: Sequence[Window], cap_seconds: float) -> list[Ids]:
    """Returns the numbers of the windows of each pass, which have similar lengths."""
    lengths = np.array([max(len(window.samples), MIN_BATCH_SAMPLES) for window in windows])
    cap_samples = max(int(cap_seconds * SAMPLE_RATE_HZ), int(lengths.max()))
    [passes] = cut_step([np.arange(len(windows))], lengths, memory_cap_samples=cap_samples, world_size=1)
    return passes


def _own_logits(windows: Sequence[Window], recognizer: Recognizer) -> list[Tensor]:
    """Returns the logits (F, V) of each window's own frames; the windows are computed as one pass."""
    model = recognizer.model
    clips = [torch.from_numpy(window.samples) for window in windows]
    shortest_batch = torch.zeros(MIN_BATCH_SAMPLES, dtype=torch.int16)  # padded with the others, then dropped
    waveforms = pad_sequence([*clips, shortest_batch], batch_first=True)[:-1]
    num_samples = torch.tensor([len(clip) for clip in clips])
    num_frames = count_frames(model, num_samples).tolist()
    has_padding = has_padded_frames(recognizer, num_samples, waveforms.shape[1])
    on_device = waveforms.to(model.device), num_samples.to(model.device)
    with torch.no_grad():
        logits = forward_logits(model, recognizer, *on_device, has_padding=has_padding)
    return [row[:frames][window.own_frames] for window, row, frames in zip(windows, logits, num_frames, strict=True)]


def words_of(reading: Reading, recognizer: Recognizer) -> dict[str, Any]:
    """Returns what is heard as a row.

    Returns:
        `text`; its `confidence`, None without words; `words`: each its `word`, `start_seconds`, `end_seconds` and
        `confidence`; and, if the decoder was asked for them, `alternatives`: each its `text` and `score`.
    """
    geometry = recognizer.geometry
    words = ctc_text.words_of_path(reading.path, recognizer.vocabulary)
    confidence = confidence_of_text(reading.confidences)
    row: dict[str, Any] = {
        "text": " ".join(word.text for word in words),
        "confidence": None if confidence is None else round(confidence, 4),
        "words": [
            {
                "word": word.text,
                "start_seconds": start_seconds(word.start_frame, geometry),
                "end_seconds": start_seconds(word.end_frame, geometry),
                "confidence": round(confidence, 4),
            }
            for word, confidence in zip(words, reading.confidences, strict=True)
        ],
    }
    if reading.alternatives:
        row["alternatives"] = [{"text": text, "score": round(score, 3)} for text, score in reading.alternatives]
    return row


def start_seconds(frame: int, geometry: FrameGeometry) -> float:
    """Returns the time at which a frame starts, to the millisecond."""
    samples = float(frame) * geometry.stride_samples + geometry.offset_samples
    return round(max(0.0, samples / SAMPLE_RATE_HZ), 3)
