"""A recording to samples: whole or a part of it, one channel or the mean of all.

Shape legend: T samples, C channels.
"""

import io
import math
from collections.abc import Iterable, Iterator

import numpy as np

from asrscale.common.errors import AudioError
from asrscale.speech.blocks import TRUNCATION_TOLERANCE_FRAMES, Block, Frames, Source, UnknownFormatError
from asrscale.speech.libsndfile import read_stored_pcm16, read_with_libsndfile
from asrscale.speech.parts import probe_seconds, read_blocks
from asrscale.speech.pcm import SAMPLE_RATE_HZ, Pcm, Waveform, resample, resampling_stream, to_pcm16

LONGEST_SAMPLES = 86_400 * SAMPLE_RATE_HZ  # of a day: utterances are far shorter

# How much longer than promised a payload is decoded, so that a message can say how long it is.
SURPLUS_SECONDS = 2

# The mean of C channels that have nothing to do with each other has 1/C of their power. Less than this share is left of
# channels that are each other's opposite, as a microphone or mixer makes them that is wired the wrong way round.
MIN_POWER_OF_MEAN = 0.01

# What names of recordings end in, in lower case: a file whose name ends so is taken for a recording.
AUDIO_EXTENSIONS = (
    *("flac", "wav", "mp3", "ogg", "opus", "oga", "aiff", "aif", "aifc", "au", "snd", "caf", "w64", "rf64"),
    *("sph", "nist", "gsm", "vox", "m4a", "m4b", "aac", "alac", "mp4", "mov", "webm", "weba", "mka", "mkv", "3gp"),
    *("amr", "awb", "wma", "ac3", "eac3", "dts", "wv", "ape", "tta", "spx", "mp2", "mpga", "g722", "g729"),
    *("ul", "ulaw", "mulaw", "pcmu", "al", "alaw", "pcma", "sln"),
)

_EMPTY = "empty: holds no samples"

_STORING_FORMATS = (b"RIFF", b"fLaC")  # what files begin with that may hold 16-bit samples as they are


def decode(
    source: Source,
    max_seconds: float,
    start_seconds: float = 0.0,
    seconds: float | None = None,
    *,
    channel: int | None = None,
) -> tuple[Waveform, int]:
    """Decodes a recording, or a segment of it that is exact to the sample.

    Args:
        source: In any format that libsndfile or ffmpeg reads.
        max_seconds: Of what is decoded; no more is ever held in memory.
        start_seconds: Where the segment begins.
        seconds: How long the segment is; None is to the end of the recording.
        channel: Which of the channels, from 0; None for their mean.

    Returns:
        The samples, float32 (T,) in about [-1, 1], and the recording's own sample rate in Hz.

    Raises:
        AudioError: `category: detail`; unreadable, truncated (some formats do not say how long they should be), longer
            than its header says, empty, too long, without that channel, or of channels that cancel each other out.
    """
    end_seconds = math.inf if seconds is None else start_seconds + seconds
    blocks = read_blocks(source, start_seconds, end_seconds)
    return _join(_read_mono(source, blocks, start_seconds, end_seconds, channel), max_seconds)


def decode_stretch(source: Source, start_seconds: float, seconds: float) -> tuple[Waveform, int]:
    """Decodes a segment of the mean of the channels as `decode` does, of a recording that `is_entered_quickly`.

    Nothing of what lies outside is looked at, so it costs the same anywhere in a recording of hours.

    Raises:
        AudioError: As `decode` does.
    """
    end_seconds = start_seconds + seconds
    blocks = read_with_libsndfile(source, start_seconds, end_seconds)
    return _join(_read_mono(source, blocks, start_seconds, end_seconds, channel=None), LONGEST_SAMPLES / SAMPLE_RATE_HZ)


def _join(pieces: Iterable[tuple[Waveform, int]], max_seconds: float) -> tuple[Waveform, int]:
    """Returns pieces as one, and their rate in Hz; raises AudioError where they are longer than `max_seconds`."""
    waveforms: list[Waveform] = []
    frames = 0
    rate_hz = 0
    for piece, rate_hz in pieces:
        frames += len(piece)
        if frames > max_seconds * rate_hz:
            raise AudioError(f"too long: more than {max_seconds:g} s")
        waveforms.append(piece)
    return waveforms[0] if len(waveforms) == 1 else np.concatenate(waveforms), rate_hz


def count_channels(source: Source) -> int:
    """Returns how many channels a recording has, by its beginning.

    Raises:
        AudioError: `category: detail`; unreadable, or empty.
    """
    for block in read_blocks(source):
        return int(block.samples.shape[1])
    raise AudioError(_EMPTY)


def decode_long(source: Source) -> Pcm:
    """Returns the 16-bit samples (T,) at 16 kHz of a recording of any length, in at most 230 MB of memory for an hour.

    Raises:
        AudioError: As `decode` does, and `non-finite`.
    """
    return np.concatenate(list(stream_pcm(source)))


def stream_pcm(source: Source, channel: int | None = None) -> Iterator[Pcm]:
    """Yields the 16-bit samples (T,) at 16 kHz of a recording of any length, piece by piece.

    They are those of `decode`, `resample` and `to_pcm16`. The bytes of an mp3 may be in memory besides.

    Args:
        source: In any format that libsndfile or ffmpeg reads.
        channel: Which of the channels, from 0; None for their mean.

    Raises:
        AudioError: As `decode` does, and `non-finite`; it may come behind the last piece.
    """
    stream = None
    for piece, rate_hz in _read_mono(source, read_blocks(source), 0.0, math.inf, channel=channel):
        if not np.isfinite(piece).all():
            raise AudioError("non-finite: holds NaN or infinite samples")
        if rate_hz == SAMPLE_RATE_HZ:
            yield to_pcm16(piece)
            continue
        stream = stream or resampling_stream(rate_hz)
        yield to_pcm16(stream.resample_chunk(piece))
    if stream:
        rest = stream.resample_chunk(np.empty(0, np.float32), last=True)
        yield to_pcm16(rest)


def decode_payload(data: bytes, promised_samples: int = LONGEST_SAMPLES) -> Pcm:
    """Returns the 16-bit samples (T,) at 16 kHz of a shard's audio payload, which may have any format.

    Two megabytes of FLAC may hold twelve hours of silence: not much more than what is promised is ever decoded.

    Args:
        data: The bytes.
        promised_samples: T by the index.

    Raises:
        AudioError: The bytes are damaged, or hold much more sound than that.
    """
    max_seconds = min(promised_samples, LONGEST_SAMPLES) // SAMPLE_RATE_HZ + SURPLUS_SECONDS
    stored = _read_stored(data, max_seconds * SAMPLE_RATE_HZ)
    if stored is not None:
        return stored
    waveform, rate_hz = decode(io.BytesIO(data), max_seconds)
    return to_pcm16(resample(waveform, rate_hz))


def _read_stored(data: bytes, max_samples: int) -> Pcm | None:
    """Returns the samples of a payload that stores what we want; None for any other."""
    if data[:4] not in _STORING_FORMATS:
        return None
    try:
        return read_stored_pcm16(data, max_samples)
    except UnknownFormatError:  # another decoder may know it
        return None


def _read_mono(
    source: Source, blocks: Iterable[Block], start_seconds: float, end_seconds: float, channel: int | None
) -> Iterator[tuple[Waveform, int]]:
    """Yields the samples of one channel, or of the mean of all, of a recording's blocks, and their rate in Hz.

    Raises:
        AudioError: As `decode` does.
    """
    rate_hz = 0
    frames = 0
    missing_frames = 0.0
    mean_power = 0.0
    channel_power = 0.0
    for block in blocks:
        _check_same_rate(block, rate_hz)
        rate_hz = block.rate_hz
        wanted, missing_frames = _cut(block, start_seconds, end_seconds)
        if len(wanted):
            mono = _to_mono(wanted, channel)
            frames += len(mono)
            if channel is None and wanted.shape[1] > 1:
                mean_power += float(np.vdot(mono, mono))
                channel_power += float(np.vdot(wanted, wanted)) / wanted.shape[1]
            yield mono, rate_hz
        if missing_frames <= 0:
            break

    is_short = end_seconds < math.inf and missing_frames > TRUNCATION_TOLERANCE_FRAMES
    if is_short or not frames:
        raise AudioError(_why_sound_is_missing(source, start_seconds, end_seconds))
    if mean_power < MIN_POWER_OF_MEAN * channel_power:
        raise AudioError("opposite phases: its channels cancel each other out: choose one in a column named channel")


def _check_same_rate(block: Block, rate_hz: int) -> None:
    """Raises AudioError where a block has another sample rate than those before it, if there were any."""
    if rate_hz and block.rate_hz != rate_hz:
        seconds = block.start / rate_hz
        rates = f"from {rate_hz:,} to {block.rate_hz:,} Hz"
        raise AudioError(f"unreadable: its sample rate changes {rates} after {seconds:.2f} s: convert it to one rate")


def _cut(block: Block, start_seconds: float, end_seconds: float) -> tuple[Frames, float]:
    """Returns what of a block belongs to a segment, (T, C), and how many samples are missing behind the block."""
    start = round(start_seconds * block.rate_hz)
    end = math.inf if end_seconds == math.inf else round(end_seconds * block.rate_hz)
    first = max(0, start - block.start)
    last = min(len(block.samples), max(0, end - block.start))
    return block.samples[first : int(last)], end - block.end


def _to_mono(samples: Frames, channel: int | None) -> Waveform:
    """Returns one channel of samples (T, C), or the mean of all; raises AudioError where there is no such channel."""
    channels = samples.shape[1]
    if channel is not None:
        if channel >= channels:
            raise AudioError(f"channel: the row asks for number {channel} of its {channels}, counted from 0")
        return samples[:, channel]
    if channels == 1:
        return samples[:, 0]
    mean: Waveform = samples.mean(axis=1)
    return mean


def _why_sound_is_missing(source: Source, start_seconds: float, end_seconds: float) -> str:
    """Returns the reason to reject a recording without sound, or one that is too short for a segment."""
    is_to_end = end_seconds == math.inf
    length_seconds = probe_seconds(source)
    if not length_seconds or (is_to_end and not start_seconds):
        return _EMPTY
    if length_seconds >= (start_seconds if is_to_end else end_seconds):
        return f"truncated: its sound ends before the {length_seconds:.2f} s that its header promises"
    place = f"from {start_seconds:g} s" if is_to_end else f"{start_seconds:g} to {end_seconds:g} s"
    length = f"the recording is {length_seconds:.2f} s long"
    return f"segment: {place}, but {length}: correct the times, or copy the recording again"
