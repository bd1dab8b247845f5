"""Recordings made on the spot."""

import io

import numpy as np
import soundfile


def sine(frequency_hz: float, rate_hz: int, seconds: float = 1.0, level: float = 0.5) -> np.ndarray:
    """A tone, float32 (T,)."""
    time_seconds = np.arange(int(seconds * rate_hz)) / rate_hz
    return (level * np.sin(2 * np.pi * frequency_hz * time_seconds)).astype(np.float32)


def encoded(waveform: np.ndarray, rate_hz: int, format: str) -> bytes:
    """The bytes of an audio file in one of libsndfile's formats."""
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform, rate_hz, format=format)
    return buffer.getvalue()
