"""Each change of a sound beside sums written out, and tones of known frequency."""

import numpy as np
import pytest
from conftest import speak
from helpers.audio import sine

from asrscale.augmentation.sound import (
    add_noise,
    change_gain,
    clip_peaks,
    power,
    reverberate,
    telephone_band,
)
from asrscale.common.errors import AudioError
from asrscale.speech.pcm import to_pcm16

SPEECH = speak("bad dog", seed=1)


def noise(length: int, seed: int = 0, level: float = 0.05) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(length)).astype(np.float32)


def db(signal: np.ndarray, other: np.ndarray) -> float:
    """The ratio of two powers."""
    return 10 * np.log10(np.mean(signal.astype(float) ** 2) / np.mean(other.astype(float) ** 2))


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 13.7, 40.0])
def test_noise_has_the_ratio_that_was_asked_for(snr_db: float) -> None:
    speech = SPEECH / 4  # so that nothing reaches the limit of 16 bits
    noisy = add_noise(speech, noise(len(speech)), snr_db)
    assert db(speech, noisy - speech) == pytest.approx(snr_db, abs=0.01)
    assert noisy.dtype == np.float32 and len(noisy) == len(speech)


def test_noise_that_would_leave_the_range_makes_all_quieter_instead_of_clipping() -> None:
    loud = SPEECH / np.abs(SPEECH).max()
    added = noise(len(loud))
    noisy = add_noise(loud, added, 0.0)
    assert np.abs(noisy).max() == pytest.approx(1.0)
    factor = np.sqrt(power(loud) / power(added))
    assert np.corrcoef(noisy, loud + added * factor)[0, 1] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("speech", "added", "message"),
    [
        (SPEECH, np.zeros(len(SPEECH), np.float32), "^silent: all its samples are zero"),
        (np.zeros(100, np.float32), noise(100), "^silent: the utterance has no level"),
        (SPEECH, np.full(len(SPEECH), np.nan, np.float32), "^non-finite"),
    ],
)
def test_where_there_is_no_ratio_there_is_an_error(speech: np.ndarray, added: np.ndarray, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        add_noise(speech, added, 10.0)


@pytest.mark.parametrize(("direct", "length"), [(0, 1), (37, 800), (1_000, 4_001), (5, 60_000)])
def test_a_room_is_the_convolution_with_its_response_in_time_and_at_the_same_power(direct: int, length: int) -> None:
    response = noise(length, seed=2) * np.exp(-np.arange(length) / 500).astype(np.float32)
    response[direct] = -0.9
    wet = reverberate(SPEECH, response)
    expected = np.convolve(SPEECH.astype(float), response.astype(float))[direct : direct + len(SPEECH)]
    expected *= np.sqrt(np.mean(SPEECH.astype(float) ** 2) / np.mean(expected**2))
    expected /= max(1.0, np.abs(expected).max())
    assert wet.dtype == np.float32 and len(wet) == len(SPEECH)
    assert np.abs(wet - expected).max() < 1e-5
    lag = np.abs(np.correlate(wet, SPEECH, "full")).argmax() - (len(SPEECH) - 1)
    assert abs(lag) <= 2  # the direct path stays where it was; what rings around it are samples beside


def test_a_response_of_one_sample_changes_nothing_and_silence_stays_silent() -> None:
    click = np.zeros(100, np.float32)
    click[60] = 0.3
    assert np.abs(reverberate(SPEECH, click) - SPEECH).max() < 1e-6
    assert not reverberate(np.zeros(50, np.float32), click).any()
    with pytest.raises(AudioError, match=r"^silent"):
        reverberate(SPEECH, np.zeros(100, np.float32))


def test_gain_is_that_of_the_decibels_and_what_leaves_the_range_is_cut_off() -> None:
    assert db(change_gain(SPEECH, -12.0), SPEECH) == pytest.approx(-12, abs=1e-3)
    loud = change_gain(SPEECH, 40.0)
    assert np.abs(loud).max() == 1.0
    pcm = to_pcm16(loud)
    assert np.array_equal(np.sign(pcm), np.sign(to_pcm16(SPEECH * 100).astype(int)))  # nothing has wrapped


def test_clipping_cuts_off_what_exceeds_the_old_peak() -> None:
    peak = np.abs(SPEECH).max()
    clipped = clip_peaks(SPEECH, 12.0)
    expected = np.minimum(np.maximum(SPEECH * 10 ** (12 / 20), -peak), peak)
    assert np.allclose(clipped, expected, atol=1e-6) and np.abs(clipped).max() == peak
    assert np.mean(np.abs(clipped) >= peak * 0.9999) > 0.02
    assert np.array_equal(clip_peaks(SPEECH, 0.0), SPEECH)


@pytest.mark.parametrize("hz", [300, 440, 1_000, 2_500, 3_400])
def test_the_band_of_a_telephone_passes_unchanged_and_in_time(hz: int) -> None:
    tone = sine(hz, 16_000)
    inner = slice(2_000, -2_000)  # away from where the tone is switched on and off
    assert np.abs(telephone_band(tone)[inner] - tone[inner]).max() < 0.005


@pytest.mark.parametrize("hz", [0, 50, 60, 100, 3_600, 4_200, 5_000, 7_900])
def test_what_is_outside_of_it_is_50_db_lower(hz: int) -> None:
    tone = sine(hz, 16_000) + np.float32(0.5 if hz == 0 else 0)
    inner = slice(2_000, -2_000)
    assert db(telephone_band(tone)[inner], tone[inner]) < -50


@pytest.mark.parametrize("length", [1, 2, 3, 161, 8_001])
def test_lengths_stay(length: int) -> None:
    waveform = noise(length)
    for changed in (
        telephone_band(waveform),
        reverberate(waveform, noise(300)),
        change_gain(waveform, 3.0),
        clip_peaks(waveform, 3.0),
        add_noise(waveform, noise(length, seed=1), 3.0),
    ):
        assert changed.shape == (length,) and changed.dtype == np.float32 and np.isfinite(changed).all()
