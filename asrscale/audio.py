"""Audio files to 16 kHz PCM and back; samples to frames. The only module that knows soundfile and soxr.

Shape legend: T samples.
"""

import io
import os
import re
from collections.abc import Sequence
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from asrscale.errors import AudioError

Waveform: TypeAlias = npt.NDArray[np.float32]
Pcm: TypeAlias = npt.NDArray[np.int16]
Count = TypeVar("Count", int, npt.NDArray[np.int64])

SAMPLE_RATE_HZ = 16_000  # what every public wav2vec2 checkpoint was trained on
PCM_SCALE = 32_768  # libsndfile divides 16-bit samples by this, so PCM -> float -> PCM is exact

# Resampling from outside this range means a damaged header, not speech: soxr would need a filter of absurd length.
MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 1_000_000

# What a sound mp3 may lack of the frames its header promises: real Common Voice clips lack 270,
# and an encoder may pad by one mp3 frame at either end (1,152 samples each).
TRUNCATION_TOLERANCE_FRAMES = 2 * 1_152

# How libsndfile's log tells of a wav or aiff that ends early: "data : 192000 (should be 95978)", in bytes.
_SHORT_CHUNK = re.compile(r"\b(?:data|SSND) : (\d+) \(should be (\d+)\)")
STREAMED_CHUNK_BYTES = 0x7FFF_0000  # programs that write wav to a pipe leave a placeholder above this for the length

BLOCK_FRAMES = 1 << 18  # decoded at a time, so that a header that lies cannot make us allocate what it claims


def decode(source: str | os.PathLike[str] | io.BytesIO, max_seconds: float) -> tuple[Waveform, int]:
    """Decodes any format that libsndfile reads (wav, flac, mp3, ogg, opus …).

    Args:
        source: A path, or the bytes of a file.
        max_seconds: Longer audio is refused, and never held in memory beyond this.

    Returns:
        The mean of the channels, float32 (T,) in about [-1, 1], and its own sample rate in Hz.

    Raises:
        AudioError: `category: detail` where the category is unreadable, truncated, empty or too long. Files that do not
            say how long they are (ogg, opus, an mp3 without a Xing header) cannot be told to be truncated.
    """
    try:
        with soundfile.SoundFile(source) as file:
            rate = int(file.samplerate)
            if not MIN_RATE_HZ <= rate <= MAX_RATE_HZ:
                raise AudioError(f"unreadable: a sample rate of {rate:,} Hz")
            waveform = _read_mono(file, max_frames=int(max_seconds * rate))
            missing = max(int(file.frames) - len(waveform), _frames_cut_off(file.extra_info, file.channels))
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: soundfile takes *.raw for headerless audio
        raise AudioError(f"unreadable: {_detail(error)}") from error
    if missing > TRUNCATION_TOLERANCE_FRAMES:
        raise AudioError(f"truncated: {len(waveform):,} of {len(waveform) + missing:,} frames could be decoded")
    if not len(waveform):
        raise AudioError("empty: holds no samples")
    return waveform, rate


def _frames_cut_off(log: str, channels: int) -> int:
    """About how many frames a wav or aiff lacks of what its header promises (at 16 bits), by libsndfile's log."""
    if (match := _SHORT_CHUNK.search(log)) is None:
        return 0
    promised_bytes, present_bytes = int(match[1]), int(match[2])
    return 0 if promised_bytes > STREAMED_CHUNK_BYTES else (promised_bytes - present_bytes) // (2 * channels)


def _detail(error: Exception) -> str:
    """What libsndfile says, or where that is nothing soundfile's own words, in one line."""
    return " ".join((getattr(error, "error_string", "") or str(error)).split())


def _read_mono(file: soundfile.SoundFile, max_frames: int) -> Waveform:
    """Reads to the end, block by block; raises AudioError past `max_frames`."""
    blocks: list[Waveform] = [np.empty(0, np.float32)]
    frames = 0
    while len(block := file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)):
        blocks.append(block[:, 0] if block.shape[1] == 1 else block.mean(axis=1))
        frames += len(block)
        if frames > max_frames:
            raise AudioError(f"too long: more than {max_frames / file.samplerate:g} s")
    return np.concatenate(blocks)


def resample(waveform: Waveform, sample_rate_hz: int) -> Waveform:
    """Resamples (T,) float32 to 16 kHz with soxr's HQ filter: flat to 7 kHz, what would alias is below -100 dB."""
    if sample_rate_hz == SAMPLE_RATE_HZ:
        return waveform
    resampled: Waveform = soxr.resample(waveform, sample_rate_hz, SAMPLE_RATE_HZ, quality="HQ")
    return resampled


def to_pcm16(waveform: Waveform) -> Pcm:
    """Rounds float (T,) in [-1, 1] to 16-bit samples; what lies beyond is clipped, never wrapped."""
    scaled = np.rint(waveform * np.float32(PCM_SCALE))
    pcm: Pcm = np.clip(scaled, -PCM_SCALE, PCM_SCALE - 1).astype(np.int16)
    return pcm


def encode_flac(pcm: Pcm) -> bytes:
    """Encodes 16-bit samples (T,) at 16 kHz as FLAC; the same samples give the same bytes."""
    buffer = io.BytesIO()
    soundfile.write(buffer, pcm, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def decode_flac(data: bytes) -> Pcm:
    """Decodes an audio payload of a shard to 16-bit samples (T,).

    Raises:
        AudioError: The bytes are damaged, or are not 16 kHz mono.
    """
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if (file.samplerate, file.channels) != (SAMPLE_RATE_HZ, 1):
                raise AudioError(f"wrong format: {file.samplerate} Hz, {file.channels} channels, not 16000 Hz mono")
            pcm: Pcm = file.read(dtype="int16")
            if len(pcm) != file.frames or not len(pcm):
                raise AudioError(f"truncated: {len(pcm):,} of {file.frames:,} samples could be decoded")
    except soundfile.LibsndfileError as error:
        raise AudioError(f"unreadable: {_detail(error)}") from error
    return pcm


def num_frames(num_samples: Count, kernels: Sequence[int], strides: Sequence[int]) -> Count:
    """How many frames a stack of unpadded convolutions makes of `num_samples` (a number or an array of them)."""
    for kernel, stride in zip(kernels, strides, strict=True):
        num_samples = (num_samples - kernel) // stride + 1
    if isinstance(num_samples, int):
        return max(num_samples, 0)
    return np.maximum(num_samples, 0)
