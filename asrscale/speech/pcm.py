"""Samples: 16 kHz PCM, resampling, speed. Owns soxr.

Shape legend: T samples.
"""

from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import soxr

Waveform: TypeAlias = npt.NDArray[np.float32]


Pcm: TypeAlias = npt.NDArray[np.int16]


Count = TypeVar("Count", int, npt.NDArray[np.int64])


SAMPLE_RATE_HZ = 16_000  # what every public wav2vec2 checkpoint was trained on


PCM_SCALE = 32_768  # libsndfile divides 16-bit samples by this, so PCM -> float -> PCM is exact


def resample(waveform: Waveform, sample_rate_hz: int) -> Waveform:
    """Resamples (T,) float32 to 16 kHz with soxr's HQ filter: flat to 7 kHz, what would alias is below -100 dB."""
    if sample_rate_hz == SAMPLE_RATE_HZ:
        return waveform
    resampled: Waveform = soxr.resample(waveform, sample_rate_hz, SAMPLE_RATE_HZ, quality="HQ")
    return resampled


def change_speed(pcm: Pcm, tenths: int) -> Pcm:
    """Resamples (T,) samples to `tenths`/10 of their speed, pitch included: `perturbed_length(T, tenths)` of them.

    As float32: of 16-bit samples soxr 1.1 adds dither to the result, and reads memory that nobody has written, so that
    the last some hundred samples of a few lengths came out at random.
    """
    length = perturbed_length(len(pcm), tenths)
    waveform = pcm.astype(np.float32) / PCM_SCALE
    changed: Waveform = soxr.resample(waveform, SAMPLE_RATE_HZ * tenths / 10, SAMPLE_RATE_HZ, quality="HQ")[:length]
    return np.pad(to_pcm16(changed), (0, length - len(changed)))


def perturbed_length(num_samples: Count, tenths: Count | int) -> Count:
    """How many samples remain of `num_samples` (numbers or arrays) at `tenths`/10 of their speed."""
    return num_samples * 10 // tenths


def to_pcm16(waveform: Waveform) -> Pcm:
    """Rounds float (T,) in [-1, 1] to 16-bit samples; what lies beyond is clipped, never wrapped."""
    scaled = waveform * np.float32(PCM_SCALE)
    pcm: Pcm = np.clip(np.rint(scaled, out=scaled), -PCM_SCALE, PCM_SCALE - 1, out=scaled).astype(np.int16)
    return pcm
