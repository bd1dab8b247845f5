"""Which resampler: speed, flatness and aliasing of soxr HQ and torchaudio, 48 kHz to 16 kHz, on one core.

`make bench` runs this; docs/decisions/resampler.md says what was decided.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
import torchaudio

from asrscale.speech.pcm import resample

SECONDS, RATE_HZ = 15, 48_000
REPEATS = 20


def torchaudio_default(waveform: np.ndarray) -> np.ndarray:
    return torchaudio.functional.resample(torch.from_numpy(waveform), RATE_HZ, 16_000).numpy()


def torchaudio_kaiser_best(waveform: np.ndarray) -> np.ndarray:
    """The parameters that torchaudio documents as librosa's kaiser_best."""
    resampled = torchaudio.functional.resample(
        torch.from_numpy(waveform), RATE_HZ, 16_000, lowpass_filter_width=64, rolloff=0.9475937167399596,
        resampling_method="sinc_interp_kaiser", beta=14.769656459379492,
    )  # fmt: skip
    return resampled.numpy()


METHODS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "soxr HQ": lambda waveform: resample(waveform, RATE_HZ),
    "torchaudio default": torchaudio_default,
    "torchaudio kaiser_best": torchaudio_kaiser_best,
}


def tone(frequency_hz: float) -> np.ndarray:
    return np.sin(2 * np.pi * frequency_hz * np.arange(2 * RATE_HZ) / RATE_HZ).astype(np.float32)


def level_db(method: Callable[[np.ndarray], np.ndarray], frequency_hz: float) -> float:
    """What is left of a tone, in dB of what went in, away from the edges."""
    middle = method(tone(frequency_hz))[4_000:-4_000]
    return float(20 * np.log10(max(np.sqrt(2 * np.mean(middle**2)), 1e-9)))


def real_time_factor(method: Callable[[np.ndarray], np.ndarray]) -> float:
    """Seconds of audio resampled in a second, the best of REPEATS."""
    noise = np.random.default_rng(0).standard_normal(SECONDS * RATE_HZ).astype(np.float32)
    method(noise)
    best = float("inf")
    for _ in range(REPEATS):
        started = time.perf_counter()
        method(noise)
        best = min(best, time.perf_counter() - started)
    return SECONDS / best


def main() -> None:
    torch.set_num_threads(1)
    speeds = {name: real_time_factor(method) for name, method in METHODS.items()}
    print(f"{'resampler':24} {'x real time':>11} {'ratio':>6}   tone (dB) at 7.0, 7.5 kHz | alias of 8.2, 9, 12 kHz")
    for name, method in METHODS.items():
        levels = "  ".join(f"{level_db(method, frequency):7.1f}" for frequency in (7_000, 7_500, 8_200, 9_000, 12_000))
        print(f"{name:24} {speeds[name]:11,.0f} {speeds[name] / speeds['soxr HQ']:6.2f}   {levels}")


if __name__ == "__main__":
    main()
