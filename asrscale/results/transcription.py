"""Recordings of any format and length to text with the times of its words.

A long recording is cut into windows, whose frames are joined to those of the whole: so the best path, its text and its
times have no seams. docs/decisions/word-times.md says why the times are those of the greedy path.

Shapes: T samples.
"""

import io
import sys
from collections.abc import Iterator, Mapping, Sequence
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
from asrscale.model.cpu_kernels import suitable_kernels
from asrscale.model.forward import count_frames, forward_logits, has_padded_frames
from asrscale.model.recognizer import Recognizer
from asrscale.results.frame_texts import of_tokens
from asrscale.results.speakers import merge_speakers
from asrscale.results.windows import Window, stream_windows
from asrscale.speech import ctc_text
from asrscale.speech.blocks import Source
from asrscale.speech.channels import find_channels
from asrscale.speech.decoding import stream_pcm
from asrscale.speech.frames import FrameGeometry
from asrscale.speech.pcm import SAMPLE_RATE_HZ, Pcm
from asrscale.speech.vocabulary import Vocabulary

# Windows that together last this long are in memory at once, and sorted by length.
GROUP_SAMPLES = 1_200 * SAMPLE_RATE_HZ


# What is known of frames: (F,) their likeliest tokens with ln of the probabilities of these, or (F, V) of all tokens.
Frames: TypeAlias = npt.NDArray[Any]
_LIKELIEST = np.dtype([("token", np.int64), ("ln_probability", np.float32)])


@dataclass(eq=False)
class _Recording:
    """A recording whose windows are computed as they are decoded.

    Attributes:
        file: Its path.
        data: Its bytes, if they came through a pipe.
        channel: Which one, from 0; None for the mean of all.
        share: Of the progress of a file, which may be several of these: one for each channel.
        num_samples: How many are decoded so far.
        heard_seconds: Of how many seconds the frames are known.
        frames: What is known of its frames so far, as `_frames_of_windows` returns it.
        problem: Why it cannot be transcribed; "" where nothing is wrong so far.
    """

    file: str
    data: bytes | None = None
    channel: int | None = None
    share: float = 1.0
    num_samples: int = 0
    heard_seconds: float = 0.0
    frames: list[Frames] = field(default_factory=list)
    problem: str = ""


def transcribe_files(
    files: Sequence[str],
    recognizer: Recognizer,
    *,
    memory_cap_seconds: float,
    bar: Progress,
    decoder: Decoder | None = None,
    by_channel: bool = False,
    lengths_seconds: Mapping[str, float] | None = None,
) -> Iterator[dict[str, Any]]:
    """Yields a row for each recording that can be read, in their order; a line beside the bar says why for the others.

    However long a recording is, no more of it than GROUP_SAMPLES is in memory.

    Args:
        files: Different ones.
        recognizer: Transcribes, on the device that its model is on.
        memory_cap_seconds: Padded audio of a pass.
        bar: Counts the files, or the seconds of all where their lengths are given.
        decoder: Finds the texts; by default those of the best paths.
        by_channel: Whether each channel with a sound of its own is transcribed by itself, as a speaker.
        lengths_seconds: Of each file, about.

    Yields:
        `file`, `seconds`, what `words_of` returns, or `merge_speakers` of channels, and the `language` of the model's
        training data, if known.
    """
    done: list[list[_Recording]] = []  # decoded to the end, but not yet all computed
    group: list[tuple[_Recording, Window]] = []
    group_samples = 0

    def compute() -> None:
        nonlocal group, group_samples
        _compute(group, recognizer, memory_cap_seconds, bar, decoder, counts_seconds=lengths_seconds is not None)
        group, group_samples = [], 0

    def finish(parts: Sequence[_Recording]) -> None:
        if lengths_seconds is None:
            bar.advance()
        else:
            bar.advance(lengths_seconds[parts[0].file] - sum(part.share * part.heard_seconds for part in parts))

    for file in files:
        parts = _open(file, bar, by_channel=by_channel)
        for recording, window in _read_windows(parts, recognizer.geometry):
            group.append((recording, window))
            group_samples += len(window.samples)
            if group_samples >= GROUP_SAMPLES:
                compute()
        problem = next((part.problem for part in parts if part.problem), "")
        if problem:
            bar.write(f"{file} is left out: {problem}")
            group = [(other, window) for other, window in group if other not in parts]
            group_samples = sum(len(window.samples) for _, window in group)
            finish(parts)
        else:
            done.append(parts)
        if file == files[-1]:
            compute()
        while done and not (group and group[0][0] in done[0]):
            finish(done[0])
            yield _row(done.pop(0), recognizer, decoder)


def _open(file: str, bar: Progress, *, by_channel: bool) -> list[_Recording]:
    """Returns what is transcribed of a file: the mean of its channels, or each channel with a sound of its own."""
    data = sys.stdin.buffer.read() if file == STDIN else None
    whole = _Recording(file, data)
    if data is None and not Path(file).is_file():
        whole.problem = "missing: no such file"
    if whole.problem or not by_channel:
        return [whole]
    try:
        channels = find_channels(_source(whole))
    except AudioError as error:
        whole.problem = str(error)
        return [whole]
    for note in channels.notes:
        bar.write(f"{file}: {note}")
    share = 1 / len(channels.distinct)
    return [_Recording(file, data, channel, share) for channel in channels.distinct]


def _source(recording: _Recording) -> Source:
    return recording.file if recording.data is None else io.BytesIO(recording.data)


def _read_windows(parts: Sequence[_Recording], geometry: FrameGeometry) -> Iterator[tuple[_Recording, Window]]:
    """Yields windows; ends where a recording cannot be read any further, and says so in its `problem`."""
    for recording in parts:
        if recording.problem:
            return
        try:
            for window in stream_windows(_counted(recording), geometry):
                yield recording, window
        except AudioError as error:
            recording.problem = str(error).replace("choose one in a column named channel", "give --channels true")


def _counted(recording: _Recording) -> Iterator[Pcm]:
    """Yields the samples of a recording, piece by piece, and counts them."""
    for piece in stream_pcm(_source(recording), recording.channel):
        recording.num_samples += len(piece)
        yield piece


def _compute(
    group: Sequence[tuple[_Recording, Window]],
    recognizer: Recognizer,
    cap_seconds: float,
    bar: Progress,
    decoder: Decoder | None,
    *,
    counts_seconds: bool,
) -> None:
    """Adds the frames of windows to their recordings; there may be none."""
    if not group:
        return
    windows = [window for _, window in group]
    shares = [recording.share * counts_seconds for recording, _ in group]
    frames = _frames_of_windows(windows, recognizer, cap_seconds, bar, decoder, shares)
    for (recording, _), own_frames in zip(group, frames, strict=True):
        recording.frames.append(own_frames)
        recording.heard_seconds += len(own_frames) * recognizer.geometry.stride_samples / SAMPLE_RATE_HZ


def _row(parts: Sequence[_Recording], recognizer: Recognizer, decoder: Decoder | None) -> dict[str, Any]:
    """Returns what is yielded of a file that is computed to its end."""
    found = [words_of(_read(part.frames, recognizer, decoder), recognizer) for part in parts]
    names = [f"speaker {part.channel + 1}" for part in parts if part.channel is not None]
    words = merge_speakers(dict(zip(names, found, strict=True))) if names else found[0]
    row = {"file": parts[0].file, "seconds": parts[0].num_samples / SAMPLE_RATE_HZ, **words}
    language = recognizer.text_rules.language if recognizer.text_rules else ""
    return row | ({"language": language} if language else {})


def read_recordings(
    recordings: Sequence[Pcm],
    recognizer: Recognizer,
    cap_seconds: float,
    bar: Progress,
    decoder: Decoder | None = None,
) -> list[Reading]:
    """Returns what is recognised in each recording, at least one: a token id for each frame, and confidences.

    Args:
        recordings: (T,) samples of each.
        recognizer: As for `transcribe_files`.
        cap_seconds: Padded audio of a pass.
        bar: Counts the seconds that are done.
        decoder: As for `transcribe_files`; then the path is the likeliest that says the text that it finds.
    """
    windows: list[Window] = []
    recording_of_window: list[int] = []
    for number, pcm in enumerate(recordings):
        own_windows = list(stream_windows([pcm], recognizer.geometry))
        windows += own_windows
        recording_of_window += [number] * len(own_windows)

    whole: list[list[Frames]] = [[] for _ in recordings]
    frames = _frames_of_windows(windows, recognizer, cap_seconds, bar, decoder, [1.0] * len(windows))
    for recording, own_frames in zip(recording_of_window, frames, strict=True):
        whole[recording].append(own_frames)
    return [_read(parts, recognizer, decoder) for parts in whole]


def _read(parts: Sequence[Frames], recognizer: Recognizer, decoder: Decoder | None) -> Reading:
    """Returns what is recognised in a recording, of what is known of its frames."""
    frames = np.concatenate(parts)
    if decoder is not None:
        return decoder.read(frames)
    path: list[int] = frames["token"].tolist()
    return Reading(path, path_confidences(path, frames["ln_probability"], recognizer.vocabulary))


def _frames_of_windows(
    windows: Sequence[Window],
    recognizer: Recognizer,
    cap_seconds: float,
    bar: Progress,
    decoder: Decoder | None,
    shares: Sequence[float],
) -> list[Frames]:
    """Returns the likeliest tokens of each window's own frames; for a decoder the log-probabilities of all tokens.

    The bar counts the seconds of these frames, by the share that each window has in them.
    """
    frame_seconds = recognizer.geometry.stride_samples / SAMPLE_RATE_HZ
    found: dict[int, Frames] = {}
    for number, logits in logits_of_windows(windows, recognizer, cap_seconds):
        if windows[number].ends_in_pause:
            end_word(logits, recognizer.vocabulary)
        if decoder is None:
            found[number] = _likeliest(logits, recognizer.temperature)
        else:
            found[number] = torch.log_softmax(logits.float(), -1).cpu().numpy()
        bar.advance(len(logits) * frame_seconds * shares[number], f"{len(found):,} of {len(windows):,} windows")
    return [found[number] for number in range(len(windows))]


def _likeliest(logits: Tensor, temperature: float) -> Frames:
    """Returns the likeliest tokens of frames, of logits (F, V), with ln of their probabilities at a temperature."""
    tokens = logits.argmax(-1)
    frames = np.empty(len(tokens), _LIKELIEST)
    frames["token"] = tokens.cpu().numpy()
    frames["ln_probability"] = of_tokens(logits, tokens, temperature).cpu().numpy()
    return frames


# How much less likely than what is said something else is: about as models have letters in silence. A search adds
# nothing up that is worth so much, and an alignment puts words there that nobody says.
_HARDLY_NATS = 15.0


def end_word(logits: Tensor, vocabulary: Vocabulary, blank_less_nats: float = _HARDLY_NATS) -> None:
    """Has the last of (F, V) frames say the delimiter where it said blank: no word goes on in the next window.

    Args:
        logits: Are changed.
        vocabulary: Of the tokens.
        blank_less_nats: How much less likely than the delimiter blank is then.
    """
    if vocabulary.delimiter_id is None:
        return
    last = logits[-1]
    # A list of both as the index would be sent to the device, which the host would wait for.
    last[vocabulary.delimiter_id] = torch.logaddexp(last[vocabulary.delimiter_id], last[vocabulary.blank_id])
    last[vocabulary.blank_id] = last[vocabulary.delimiter_id] - blank_less_nats


def logits_of_windows(
    windows: Sequence[Window], recognizer: Recognizer, cap_seconds: float
) -> Iterator[tuple[int, Tensor]]:
    """Yields the number of each window and the logits (F, V) of its own and silent frames, on the model's device.

    Windows come in any order.
    """
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
    """Returns the logits (F, V) of each window's own and silent frames; the windows are computed as one pass."""
    model = recognizer.model
    clips = [torch.from_numpy(window.samples) for window in windows]
    shortest_batch = torch.zeros(MIN_BATCH_SAMPLES, dtype=torch.int16)  # padded with the others, then dropped
    waveforms = pad_sequence([*clips, shortest_batch], batch_first=True)[:-1]
    num_samples = torch.tensor([len(clip) for clip in clips])
    num_frames = count_frames(model, num_samples).tolist()
    has_padding = has_padded_frames(recognizer, num_samples, waveforms.shape[1])
    on_device = [tensor.to(model.device, non_blocking=True) for tensor in (waveforms, num_samples)]
    with torch.no_grad(), suitable_kernels(model):
        logits = forward_logits(model, recognizer, *on_device, has_padding=has_padding)
    blank = recognizer.vocabulary.blank_id
    return [
        _with_silence(row[:frames][window.own_frames], window, blank)
        for window, row, frames in zip(windows, logits, num_frames, strict=True)
    ]


def _with_silence(logits: Tensor, window: Window, blank: int) -> Tensor:
    """Returns logits (F, V) of a window's own frames between those of its silent ones, which say blank."""
    first, end = window.silent_before, window.silent_before + len(logits)
    whole = logits.new_full((end + window.silent_after, logits.shape[-1]), -_HARDLY_NATS)
    whole[:, blank] = 0.0
    whole[first:end] = logits
    return whole


def words_of(reading: Reading, recognizer: Recognizer) -> dict[str, Any]:
    """Returns what is recognised as a row.

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
