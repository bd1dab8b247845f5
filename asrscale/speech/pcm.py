"""Samples: 16 kHz PCM, resampling, speed. Owns soxr.

Shape legend: T samples.
"""

import threading
from functools import lru_cache
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import soxr

Waveform: TypeAlias = npt.NDArray[np.float32]
Pcm: TypeAlias = npt.NDArray[np.int16]

# A number of samples, or an array of such numbers.
Count = TypeVar("Count", int, npt.NDArray[np.int64])

SAMPLE_RATE_HZ = 16_000  # what every public wav2vec2 checkpoint was trained on
PCM_SCALE = 32_768  # libsndfile divides 16-bit samples by this, so PCM -> float -> PCM is exact

# soxr's HQ filter: flat to 7 kHz, and what would alias is below -100 dB.
RESAMPLING_QUALITY = "HQ"

# Up to here (11 s of 48 kHz) a stream that is there already is faster than soxr.resample, which makes one each time.
_STREAMED_SAMPLES = 1 << 19


def resample(waveform: Waveform, sample_rate_hz: int) -> Waveform:
    """Resamples (T,) float32 samples at `sample_rate_hz` to 16 kHz."""
    if sample_rate_hz == SAMPLE_RATE_HZ:
        return waveform
    resampled: Waveform
    if len(waveform) <= _STREAMED_SAMPLES:
        stream = _stream_of_thread(sample_rate_hz, threading.get_ident())
        stream.clear()
        resampled = stream.resample_chunk(waveform, last=True)
    else:
        resampled = soxr.resample(waveform, sample_rate_hz, SAMPLE_RATE_HZ, quality=RESAMPLING_QUALITY)
    return resampled


def resample_to(waveform: Waveform, sample_rate_hz: int) -> Waveform:
    """Resamples (T,) float32 samples at 16 kHz to `sample_rate_hz`."""
    resampled: Waveform = soxr.resample(waveform, SAMPLE_RATE_HZ, sample_rate_hz, quality=RESAMPLING_QUALITY)
    return resampled


@lru_cache(maxsize=64)
def _stream_of_thread(sample_rate_hz: int, thread: int) -> soxr.ResampleStream:
    """Returns a stream that no other thread uses."""
    return resampling_stream(sample_rate_hz)


def resampling_stream(sample_rate_hz: int) -> soxr.ResampleStream:
    """Returns a stream that resamples like `resample`, piece by piece."""
    return soxr.ResampleStream(
        sample_rate_hz, SAMPLE_RATE_HZ, num_channels=1, dtype="float32", quality=RESAMPLING_QUALITY
    )


def change_speed(pcm: Pcm, tenths: int) -> Pcm:
    """Resamples (T,) samples so that they play at `tenths`/10 of their speed, which changes the pitch too.

    The samples are resampled as float32. Given 16-bit samples, soxr 1.1 adds dither and reads memory that nobody has
    written, so the last few hundred samples of some lengths would be random.

    Returns:
        Exactly `perturbed_length(T, tenths)` samples.
    """
    length = perturbed_length(len(pcm), tenths)
    played_rate_hz = SAMPLE_RATE_HZ * tenths / 10
    waveform = to_waveform(pcm)
    changed: Waveform = soxr.resample(waveform, played_rate_hz, SAMPLE_RATE_HZ, quality=RESAMPLING_QUALITY)
    # soxr may return a sample more or less than that.
    changed = changed[:length]
    missing = length - len(changed)
    return np.pad(to_pcm16(changed), (0, missing))


def perturbed_length(num_samples: Count, tenths: Count | int) -> Count:
    """Returns how many of `num_samples` samples (a number or an array) remain at `tenths`/10 of their speed."""
    return num_samples * 10 // tenths


def to_waveform(pcm: Pcm) -> Waveform:
    """Returns 16-bit samples (T,) as float32 in [-1, 1)."""
    return pcm.astype(np.float32) / np.float32(PCM_SCALE)


def to_pcm16(waveform: Waveform) -> Pcm:
    """Rounds float samples (T,) in [-1, 1] to 16-bit ones; values beyond are clipped, never wrapped."""
    # Each operation writes into the same array, which saves two copies of a long recording.
    samples = waveform * np.float32(PCM_SCALE)
    np.rint(samples, out=samples)
    np.clip(samples, -PCM_SCALE, PCM_SCALE - 1, out=samples)
    return samples.astype(np.int16)
