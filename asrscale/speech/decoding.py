"""The bytes of audio files to samples. Owns soundfile.

Shape legend: T samples.
"""

import io
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import numpy as np
import soundfile

from asrscale.common.errors import AudioError
from asrscale.speech.pcm import SAMPLE_RATE_HZ, Pcm, Waveform, resample, resampling_stream, to_pcm16

Source: TypeAlias = str | os.PathLike[str] | io.BytesIO

# What names of recordings end in, in lower case: where a recording is told from other files by its name.
AUDIO_EXTENSIONS = (
    *(
        "flac",
        "wav",
        "mp3",
        "ogg",
        "opus",
        "oga",
        "aiff",
        "aif",
        "aifc",
        "au",
        "snd",
        "caf",
        "w64",
        "rf64",
        "sph",
        "nist",
    ),
    *(
        "m4a",
        "m4b",
        "aac",
        "alac",
        "mp4",
        "webm",
        "weba",
        "mka",
        "mkv",
        "3gp",
        "amr",
        "awb",
        "wma",
        "ac3",
        "eac3",
        "dts",
    ),
    *("wv", "ape", "tta", "spx", "mp2", "mpga", "gsm", "vox"),
)

# Beyond lie damaged headers, and resampling filters of absurd length.
MIN_RATE_HZ = 1_000
MAX_RATE_HZ = 1_000_000

# How many frames of those that its header promises a sound mp3 may lack: real Common Voice clips lack 270, and an
# encoder may pad by one mp3 frame of 1,152 samples at either end.
TRUNCATION_TOLERANCE_FRAMES = 2 * 1_152

MAX_TAG_BYTES = 8_192  # what may follow the end of a recording, or come before an mp3's first frame
STREAMED_CHUNK_BYTES = 0x7FFF_0000  # programs that write wav to a pipe leave a placeholder above this for the length
PAYLOAD_MAX_SECONDS = 86_400.0  # of a day: those that a build admits are far shorter

# So many are decoded at a time (22 s of 48 kHz), so that a header with a wrong length cannot make us allocate that.
BLOCK_FRAMES = 1 << 20

# The line of libsndfile's log for a wav or aiff that ends early, in bytes: "data : 192000 (should be 95978)".
_SHORT_CHUNK = re.compile(r"\b(?:data|SSND) : (\d+) \(should be (\d+)\)")

# The line of its log for a wav that goes on after its last chunk.
_SURPLUS = re.compile(r"Unknown chunk marker \(\w+\) at position (\d+)")

# In the first frame of an mp3: flags that it counts its frames (1) and bytes (2), the frames, and the bytes.
_XING = re.compile(rb"(?:Xing|Info)\0\0\0[\x03\x07\x0b\x0f].{4}(.{4})", re.DOTALL)


def decode(
    source: Source, max_seconds: float, start_seconds: float = 0.0, seconds: float | None = None
) -> tuple[Waveform, int]:
    """Decodes a recording, or a segment of it that is exact to the frame.

    Args:
        source: In any format that libsndfile reads: wav, flac, mp3, ogg, opus and others.
        max_seconds: Of what is decoded; no more is ever held in memory.
        start_seconds: Where the segment begins.
        seconds: How long the segment is; None is to the end of the recording.

    Returns:
        The mean of the channels, float32 (T,) in about [-1, 1], and its own sample rate in Hz.

    Raises:
        AudioError: `category: detail`; unreadable, truncated (ogg, opus and an mp3 without a Xing header do not say how
            long they should be), longer than its header says, empty, or too long.
    """
    with _opened(source) as file:
        blocks = list(_read_blocks(file, max_seconds, start_seconds, seconds))
        waveform = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        return waveform, int(file.samplerate)


def decode_long(source: Source) -> Pcm:
    """Returns the 16-bit samples (T,) at 16 kHz of a recording of any length, in at most 230 MB of memory for an hour.

    They are those of `decode`, `resample` and `to_pcm16`, computed block by block.

    Raises:
        AudioError: As `decode` does, and `non-finite`.
    """
    pieces: list[Pcm] = []
    with _opened(source) as file:
        rate_hz = int(file.samplerate)
        stream = resampling_stream(rate_hz)
        for block in _read_blocks(file, math.inf):
            if not np.isfinite(block).all():
                raise AudioError("non-finite: holds NaN or infinite samples")
            resampled = block if rate_hz == SAMPLE_RATE_HZ else stream.resample_chunk(block)
            pieces.append(to_pcm16(resampled))
        rest = stream.resample_chunk(np.empty(0, np.float32), last=True)
        pieces.append(to_pcm16(rest))
    return np.concatenate(pieces)


def decode_payload(data: bytes) -> Pcm:
    """Returns the 16-bit samples (T,) at 16 kHz of a shard's audio payload, which may have any format.

    Raises:
        AudioError: The bytes are damaged.
    """
    with _opened(io.BytesIO(data)) as file:
        if (file.samplerate, file.channels, file.subtype) == (SAMPLE_RATE_HZ, 1, "PCM_16"):
            return _read_pcm16(file)
    waveform, rate_hz = decode(io.BytesIO(data), PAYLOAD_MAX_SECONDS)
    return to_pcm16(resample(waveform, rate_hz))


def probe_seconds(source: Source) -> float:
    """Returns how long a recording is by its header.

    Raises:
        AudioError: It cannot be opened.
    """
    with _opened(source) as file:
        return float(file.frames / file.samplerate)


@contextmanager
def _opened(source: Source) -> Iterator[soundfile.SoundFile]:
    """Opens a recording; an error that libsndfile or soundfile raises for it becomes an AudioError of one line."""
    try:
        with soundfile.SoundFile(source) as file:
            # Otherwise soundfile seeks to the position it is at after each read: 3 % of an mp3's decoding.
            file.seekable = lambda: False
            if not MIN_RATE_HZ <= file.samplerate <= MAX_RATE_HZ:
                raise AudioError(f"unreadable: a sample rate of {file.samplerate:,} Hz")
            yield file
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: soundfile takes *.raw for headerless audio
        detail = getattr(error, "error_string", "") or str(error)
        raise AudioError(f"unreadable: {' '.join(detail.split())}") from error


def _read_pcm16(file: soundfile.SoundFile) -> Pcm:
    """Reads all samples of a file that stores what we want, without a detour over floats."""
    pcm: Pcm = file.read(file.frames, dtype="int16")
    if len(pcm) != file.frames or not len(pcm):
        raise AudioError(f"truncated: {len(pcm):,} of {file.frames:,} samples could be decoded")
    return pcm


def _read_blocks(
    file: soundfile.SoundFile, max_seconds: float, start_seconds: float = 0.0, seconds: float | None = None
) -> Iterator[Waveform]:
    """Yields what `decode` returns, piece by piece, and raises the same errors."""
    rate_hz = int(file.samplerate)
    start = round(start_seconds * rate_hz)
    end = int(file.frames) if seconds is None else round((start_seconds + seconds) * rate_hz)

    position = _seek_towards(file, start)
    frames = 0
    while position < end:
        block = file.read(min(BLOCK_FRAMES, end - position), dtype="float32", always_2d=True)
        if not len(block):
            break
        wanted = block[max(0, start - position) :]
        position += len(block)
        frames += len(wanted)
        if frames > max_seconds * rate_hz:
            raise AudioError(f"too long: more than {max_seconds:g} s")
        yield wanted[:, 0] if file.channels == 1 else wanted.mean(axis=1)

    _check_end(file, frames, missing_frames=end - position, is_segment=seconds is not None)


def _check_end(file: soundfile.SoundFile, frames: int, missing_frames: int, *, is_segment: bool) -> None:
    """Raises AudioError where a recording turned out truncated, longer than its header says, or empty.

    Args:
        file: Read to its end, or to that of the segment.
        frames: How many were read.
        missing_frames: How many fewer than were expected.
        is_segment: Do not compare the whole recording with the lengths in bytes that its headers give.
    """
    log = "" if is_segment else _libsndfile_log(file)
    missing_frames = max(missing_frames, _frames_missing_by(log, file.channels))
    if missing_frames > TRUNCATION_TOLERANCE_FRAMES:
        raise AudioError(f"truncated: {frames:,} of {frames + missing_frames:,} frames could be decoded")

    surplus_bytes = 0 if is_segment else _surplus_bytes(file, log)
    if surplus_bytes > MAX_TAG_BYTES:
        raise AudioError(f"longer than its header says: it goes on for {surplus_bytes:,} bytes")

    if not frames:
        raise AudioError("empty: holds no samples")


def _seek_towards(file: soundfile.SoundFile, frame: int) -> int:
    """Seeks to a frame, or stays at the beginning where that would not be exact; returns the position.

    Frames of an mp3 after a seek may be decoded without the bits that frames before them keep for them, and are wrong.
    """
    if not frame or file.format == "MP3":
        return 0
    return int(file.seek(min(frame, file.frames)))


def _libsndfile_log(file: soundfile.SoundFile) -> str:
    """Returns what libsndfile logged about a file; of an mp3 it logs nothing of use."""
    return "" if file.format == "MP3" else str(file.extra_info)


def _frames_missing_by(log: str, channels: int) -> int:
    """Returns about how many frames a wav or aiff lacks of those that its header promises, exact at 16 bits."""
    short = _SHORT_CHUNK.search(log)
    if not short:
        return 0
    promised_bytes = int(short[1])
    found_bytes = int(short[2])
    if promised_bytes > STREAMED_CHUNK_BYTES:
        return 0
    return (promised_bytes - found_bytes) // (2 * channels)


def _surplus_bytes(file: soundfile.SoundFile, log: str) -> int:
    """Returns how many bytes of a wav or mp3 follow those that its headers count.

    libsndfile stops there without an error. Returns 0 for other formats, and for an mp3 without a Xing header.
    """
    if file.format == "MP3":
        head, size_bytes = _head_and_size(file)
        xing = _XING.search(head)
        return size_bytes - xing.start() - int.from_bytes(xing[1]) if xing else 0
    unknown = _SURPLUS.search(log)
    if unknown:
        _, size_bytes = _head_and_size(file)
        return size_bytes - int(unknown[1])
    return 0


def _head_and_size(file: soundfile.SoundFile) -> tuple[bytes, int]:
    """Returns the first MAX_TAG_BYTES of an open recording, and its size in bytes."""
    if isinstance(file.name, io.BytesIO):
        data = file.name.getvalue()
        return data[:MAX_TAG_BYTES], len(data)
    with open(file.name, "rb", buffering=0) as content:
        head = content.read(MAX_TAG_BYTES)
        return head, content.seek(0, os.SEEK_END)
