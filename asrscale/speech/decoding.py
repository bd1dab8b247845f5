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
import soxr

from asrscale.common.errors import AudioError
from asrscale.speech.pcm import SAMPLE_RATE_HZ, Pcm, Waveform, resample, to_pcm16

Source: TypeAlias = str | os.PathLike[str] | io.BytesIO


MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 1_000_000  # beyond lie damaged headers, and resampling filters of absurd length


# What a sound mp3 may lack of the frames its header promises: real Common Voice clips lack 270, and an encoder may pad
# by one mp3 frame of 1,152 samples at either end.
TRUNCATION_TOLERANCE_FRAMES = 2 * 1_152


# How libsndfile's log tells of a wav or aiff that ends early: "data : 192000 (should be 95978)", in bytes; and of a wav
# that goes on after its last chunk.
_SHORT_CHUNK = re.compile(r"\b(?:data|SSND) : (\d+) \(should be (\d+)\)")


_SURPLUS = re.compile(r"Unknown chunk marker \(\w+\) at position (\d+)")


# In the first frame of an mp3: that it counts its frames (1) and bytes (2), and how many there are.
_XING = re.compile(rb"(?:Xing|Info)\0\0\0[\x03\x07\x0b\x0f].{4}(.{4})", re.DOTALL)


MAX_TAG_BYTES = 8_192  # what may follow the end of a recording, or come before an mp3's first frame


STREAMED_CHUNK_BYTES = 0x7FFF_0000  # programs that write wav to a pipe leave a placeholder above this for the length


PAYLOAD_MAX_SECONDS = 86_400.0  # of a day: those that a build admits are far shorter


# 22 s of 48 kHz, decoded at a time, so that a header that lies cannot make us allocate what it claims
BLOCK_FRAMES = 1 << 20


def decode(
    source: Source, max_seconds: float, start_seconds: float = 0.0, seconds: float | None = None
) -> tuple[Waveform, int]:
    """Decodes any format that libsndfile reads (wav, flac, mp3, ogg, opus …), or a segment of it, exact to the frame.

    Returns:
        The mean of the channels, float32 (T,) in about [-1, 1], and its own sample rate in Hz.

    Raises:
        AudioError: `category: detail`; unreadable, truncated (ogg, opus and an mp3 without a Xing header do not say how
            long they should be), empty, or too long (for `max_seconds`: no more is ever held in memory).
    """
    with _opened(source) as file:
        blocks = list(_read_blocks(file, max_seconds, start_seconds, seconds))
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks), int(file.samplerate)


def decode_long(source: Source) -> Pcm:
    """`decode`, `resample` and `to_pcm16` block by block: at most 230 MB for an hour. AudioError, also `non-finite`."""
    with _opened(source) as file:
        rate, pieces = int(file.samplerate), []
        resampler = soxr.ResampleStream(rate, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")
        for block in _read_blocks(file, math.inf):
            if not np.isfinite(block).all():
                raise AudioError("non-finite: holds NaN or infinite samples")
            pieces.append(to_pcm16(block if rate == SAMPLE_RATE_HZ else resampler.resample_chunk(block)))
        pieces.append(to_pcm16(resampler.resample_chunk(np.empty(0, np.float32), last=True)))
    return np.concatenate(pieces)


def _read_blocks(
    file: soundfile.SoundFile, max_seconds: float, start_seconds: float = 0.0, seconds: float | None = None
) -> Iterator[Waveform]:
    """What `decode` returns, piece by piece; raises what it does."""
    rate = int(file.samplerate)
    start = round(start_seconds * rate)
    promised = int(file.frames) if seconds is None else round((start_seconds + seconds) * rate)
    # Not in an mp3: what follows a seek there may be decoded without the bits kept in frames before, and is wrong.
    position = file.seek(min(start, file.frames)) if start and file.format != "MP3" else 0
    frames = 0
    while position < promised:
        if not len(block := file.read(min(BLOCK_FRAMES, promised - position), dtype="float32", always_2d=True)):
            break
        wanted = block[max(0, start - position) :]
        position += len(block)
        frames += len(wanted)
        if frames > max_seconds * rate:
            raise AudioError(f"too long: more than {max_seconds:g} s")
        yield wanted[:, 0] if file.channels == 1 else wanted.mean(axis=1)
    missing, log = promised - position, "" if file.format == "MP3" else file.extra_info  # which tells nothing of one
    short = _SHORT_CHUNK.search(log)
    if seconds is None and short and int(short[1]) <= STREAMED_CHUNK_BYTES:
        missing = max(missing, (int(short[1]) - int(short[2])) // (2 * file.channels))  # about: at 16 bits
    if missing > TRUNCATION_TOLERANCE_FRAMES:
        raise AudioError(f"truncated: {frames:,} of {frames + missing:,} frames could be decoded")
    if seconds is None and (surplus := _surplus_bytes(file, log)) > MAX_TAG_BYTES:
        raise AudioError(f"longer than its header says: it goes on for {surplus:,} bytes")
    if not frames:
        raise AudioError("empty: holds no samples")


def _surplus_bytes(file: soundfile.SoundFile, log: str) -> int:
    """How much of a wav or mp3 follows what its header counts, where libsndfile stops without a word."""
    if not (unknown := _SURPLUS.search(log)) and file.format != "MP3":
        return 0
    with io.BytesIO(file.name.getvalue()) if isinstance(file.name, io.BytesIO) else open(file.name, "rb", 0) as content:
        xing = _XING.search(content.read(MAX_TAG_BYTES))
        size = content.seek(0, os.SEEK_END)
    return size - (int(unknown[1]) if unknown else xing.start() + int.from_bytes(xing[1]) if xing else size)


def probe_seconds(source: Source) -> float:
    """How long a recording is by its header; raises AudioError where it cannot be opened."""
    with _opened(source) as file:
        return float(file.frames / file.samplerate)


@contextmanager
def _opened(source: Source) -> Iterator[soundfile.SoundFile]:
    """The open file; what libsndfile says against it, or else soundfile, becomes an AudioError of one line."""
    try:
        with soundfile.SoundFile(source) as file:
            file.seekable = lambda: False  # else it seeks to where it is after each read, 3 % of an mp3's decoding
            if not MIN_RATE_HZ <= file.samplerate <= MAX_RATE_HZ:
                raise AudioError(f"unreadable: a sample rate of {file.samplerate:,} Hz")
            yield file
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: soundfile takes *.raw for headerless audio
        detail = getattr(error, "error_string", "") or str(error)
        raise AudioError(f"unreadable: {' '.join(detail.split())}") from error


def decode_payload(data: bytes) -> Pcm:
    """16-bit samples (T,) at 16 kHz of a shard's audio payload, in any format; raises AudioError for damaged bytes."""
    with _opened(io.BytesIO(data)) as file:
        if (file.samplerate, file.channels, file.subtype) == (SAMPLE_RATE_HZ, 1, "PCM_16"):
            pcm: Pcm = file.read(file.frames, dtype="int16")
            if len(pcm) != file.frames or not len(pcm):
                raise AudioError(f"truncated: {len(pcm):,} of {file.frames:,} samples could be decoded")
            return pcm
    return to_pcm16(resample(*decode(io.BytesIO(data), PAYLOAD_MAX_SECONDS)))
