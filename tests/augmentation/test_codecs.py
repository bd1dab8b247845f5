"""Codecs in memory beside ffmpeg's and libsndfile's own."""

import io
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from conftest import speak

from asrscale.augmentation.codecs import BIT_RATES, through_codec
from asrscale.augmentation.effects import CodecName

SPEECH = speak("bad dog big", seed=1)
CASES = [(name, bit_rate) for name, bit_rates in BIT_RATES.items() for bit_rate in bit_rates]


def lag(waveform: np.ndarray, other: np.ndarray) -> int:
    """How many samples `other` comes after `waveform`."""
    return int(np.correlate(other, waveform, "full").argmax()) - (len(waveform) - 1)


@pytest.mark.parametrize(("name", "bit_rate"), CASES)
def test_what_comes_back_is_the_same_speech_in_time(name: CodecName, bit_rate: int) -> None:
    decoded = through_codec(SPEECH, name, bit_rate)
    assert decoded.shape == SPEECH.shape and decoded.dtype == np.float32
    assert abs(lag(SPEECH, decoded)) <= 2  # libopus's narrow band is off by an eighth of a millisecond
    assert 0.5 < np.corrcoef(SPEECH, decoded)[0, 1] < 0.9999
    assert np.array_equal(decoded, through_codec(SPEECH, name, bit_rate))


def test_a_lower_rate_loses_more() -> None:
    for name in ("mp3", "opus"):
        losses = [np.square(through_codec(SPEECH, name, rate) - SPEECH).sum() for rate in BIT_RATES[name]]
        assert losses[0] > 2 * losses[-1], name


@pytest.mark.parametrize("length", [1, 2, 161, 575, 1_153, 8_001])
def test_lengths_stay_however_short(length: int) -> None:
    for name, bit_rates in BIT_RATES.items():
        decoded = through_codec(SPEECH[1_000 : 1_000 + length], name, bit_rates[0])
        assert decoded.shape == (length,) and np.isfinite(decoded).all()


def test_full_scale_does_not_wrap() -> None:
    square = np.sign(SPEECH).astype(np.float32)
    for name, bit_rates in BIT_RATES.items():
        decoded = through_codec(square, name, bit_rates[-1])
        assert np.abs(decoded).max() <= 1 and np.corrcoef(square, decoded)[0, 1] > 0.3, name


def test_mulaw_is_that_of_libsndfile() -> None:
    narrow = soxr.resample(SPEECH, 16_000, 8_000, quality="HQ")
    pcm = np.rint(narrow * 32_768).astype(np.int16)
    buffer = io.BytesIO()
    soundfile.write(buffer, pcm, 8_000, format="WAV", subtype="ULAW")
    buffer.seek(0)
    decoded, _ = soundfile.read(buffer, dtype="float32")
    expected = soxr.resample(decoded, 8_000, 16_000, quality="HQ")
    difference = np.abs(through_codec(SPEECH, "mulaw", 64_000) - expected[: len(SPEECH)])
    # The two round what lies between two steps in other ways; the coarsest step of G.711 is 1/32.
    assert difference.max() < 1 / 32 and difference.mean() < 3e-4
    assert np.abs(SPEECH - expected[: len(SPEECH)]).mean() > 1e-3


@pytest.mark.parametrize(("name", "suffix", "bit_rate"), [("mp3", "mp3", 16_000), ("opus", "ogg", 16_000)])
def test_it_is_what_the_program_ffmpeg_makes(name: CodecName, suffix: str, bit_rate: int, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "speech.wav", SPEECH, 16_000)
    encoder = {"mp3": "libmp3lame", "opus": "libopus"}[name]
    start = ["ffmpeg", "-v", "error", "-i"]
    try:
        steps = [
            [tmp_path / "speech.wav", "-c:a", encoder, "-b:a", str(bit_rate), tmp_path / f"speech.{suffix}"],
            [tmp_path / f"speech.{suffix}", "-ar", "16000", tmp_path / "decoded.wav"],
        ]
        for step in steps:
            subprocess.run([*start, *step], check=True)
    except FileNotFoundError:
        pytest.skip("the program ffmpeg is not installed")
    expected, _ = soundfile.read(tmp_path / "decoded.wav", dtype="float32")
    decoded = through_codec(SPEECH, name, bit_rate)
    length = min(len(expected), len(decoded))
    assert abs(lag(expected[:length], decoded[:length])) <= 2
    assert np.corrcoef(expected[:length], decoded[:length])[0, 1] > 0.95
