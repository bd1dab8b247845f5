"""Audio files to 16 kHz PCM and back; samples to frames. The only module that knows soundfile and soxr.

Shape legend: T samples.
"""

import io
import math
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from asrscale.errors import AudioError

Source: TypeAlias = str | os.PathLike[str] | io.BytesIO
Waveform: TypeAlias = npt.NDArray[np.float32]
Pcm: TypeAlias = npt.NDArray[np.int16]
Count = TypeVar("Count", int, npt.NDArray[np.int64])

Codec = Literal["flac", "wav", "opus"]
# libsndfile's containers. mp3 is no codec of shards (it pads), but what every browser plays.
_CONTAINERS = {"flac": "FLAC", "wav": "WAV", "opus": "OGG", "mp3": "MP3"}
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

SAMPLE_RATE_HZ = 16_000  # what every public wav2vec2 checkpoint was trained on
PCM_SCALE = 32_768  # libsndfile divides 16-bit samples by this, so PCM -> float -> PCM is exact

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


def resample(waveform: Waveform, sample_rate_hz: int) -> Waveform:
    """Resamples (T,) float32 to 16 kHz with soxr's HQ filter: flat to 7 kHz, what would alias is below -100 dB."""
    if sample_rate_hz == SAMPLE_RATE_HZ:
        return waveform
    resampled: Waveform = soxr.resample(waveform, sample_rate_hz, SAMPLE_RATE_HZ, quality="HQ")
    return resampled


def change_speed(pcm: Pcm, tenths: int) -> Pcm:
    """(T,) samples at `tenths`/10 of their speed, pitch included: exactly `perturbed_length(T, tenths)` of them."""
    length = perturbed_length(len(pcm), tenths)
    changed: Pcm = soxr.resample(pcm, SAMPLE_RATE_HZ * tenths / 10, SAMPLE_RATE_HZ, quality="HQ")[:length]
    return np.pad(changed, (0, length - len(changed)))


def perturbed_length(num_samples: Count, tenths: Count | int) -> Count:
    """How many samples remain of `num_samples` (numbers or arrays) at `tenths`/10 of their speed."""
    return num_samples * 10 // tenths


def to_pcm16(waveform: Waveform) -> Pcm:
    """Rounds float (T,) in [-1, 1] to 16-bit samples; what lies beyond is clipped, never wrapped."""
    scaled = waveform * np.float32(PCM_SCALE)
    pcm: Pcm = np.clip(np.rint(scaled, out=scaled), -PCM_SCALE, PCM_SCALE - 1, out=scaled).astype(np.int16)
    return pcm


def encode(pcm: Pcm, codec: Codec | Literal["mp3"]) -> bytes:
    """Encodes 16-bit samples (T,) at 16 kHz; the same samples give the same bytes, and as many are decoded again."""
    buffer = io.BytesIO()
    subtype = "OPUS" if codec == "opus" else None  # by default 16 bits, and mp3's only one
    soundfile.write(buffer, pcm, SAMPLE_RATE_HZ, format=_CONTAINERS[codec], subtype=subtype)
    return _without_serial_number(buffer.getvalue()) if codec == "opus" else buffer.getvalue()


def _without_serial_number(ogg: bytes) -> bytes:
    """The stream with serial number 0, where libsndfile puts a random one."""
    data, start = bytearray(ogg), 0
    while start < len(data):  # a page (RFC 3533): 27 bytes, of which the last counts its segments; their lengths; they
        table = start + 27
        segments = table + data[table - 1]
        end = segments + sum(data[table:segments])
        data[start + 14 : start + 18] = data[start + 22 : start + 26] = bytes(4)  # serial number, checksum
        data[start + 22 : start + 26] = _ogg_checksum(data[start:end]).to_bytes(4, "little")
        start = end
    return bytes(data)


def _ogg_checksum(page: bytearray) -> int:
    """Ogg's CRC-32: that of zlib with the bits of bytes and result the other way round, and no inversions."""
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def decode_payload(data: bytes) -> Pcm:
    """16-bit samples (T,) at 16 kHz of a shard's audio payload, in any format; raises AudioError for damaged bytes."""
    with _opened(io.BytesIO(data)) as file:
        if (file.samplerate, file.channels, file.subtype) == (SAMPLE_RATE_HZ, 1, "PCM_16"):
            pcm: Pcm = file.read(file.frames, dtype="int16")
            if len(pcm) != file.frames or not len(pcm):
                raise AudioError(f"truncated: {len(pcm):,} of {file.frames:,} samples could be decoded")
            return pcm
    return to_pcm16(resample(*decode(io.BytesIO(data), PAYLOAD_MAX_SECONDS)))


def num_frames(num_samples: Count, kernels: Sequence[int], strides: Sequence[int]) -> Count:
    """How many frames a stack of unpadded convolutions makes of `num_samples` (a number or an array of them)."""
    for kernel, stride in zip(kernels, strides, strict=True):
        num_samples = (num_samples - kernel) // stride + 1
    return max(num_samples, 0) if isinstance(num_samples, int) else np.maximum(num_samples, 0)
