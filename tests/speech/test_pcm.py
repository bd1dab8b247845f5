"""Samples at other rates and speeds."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soxr
from helpers.audio import sine

from asrscale.speech import pcm


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100, 48_000])
def test_resampling_keeps_frequency_and_level(rate_hz: int) -> None:
    resampled = pcm.resample(sine(1_000, rate_hz), rate_hz)
    assert resampled.dtype == np.float32
    assert abs(len(resampled) - pcm.SAMPLE_RATE_HZ) <= 1
    middle = slice(1_000, 15_000)  # a filter rings at the ends
    expected = sine(1_000, pcm.SAMPLE_RATE_HZ)[: len(resampled)]
    assert np.abs(resampled - expected)[middle].max() < 1e-3


@pytest.mark.parametrize("frequency_hz", [8_500, 10_000, 15_000])
def test_what_would_alias_is_60_db_down(frequency_hz: int) -> None:
    resampled = pcm.resample(sine(frequency_hz, 48_000), 48_000)
    level = np.abs(resampled[1_000:15_000]).max() / 0.5
    assert 20 * np.log10(level + 1e-12) < -60


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 44_100, 48_000, 1_000_000])
def test_a_recording_is_resampled_as_if_it_were_the_only_one(rate_hz: int) -> None:
    """A stream is used for many recordings, one after the other: nothing of one may be heard in the next."""
    rng = np.random.default_rng(rate_hz)
    waveforms = [rng.standard_normal(length).astype(np.float32) for length in (1, 50, 70_001, 3, 600_000, 9_999)]
    expected = [soxr.resample(waveform, rate_hz, 16_000, quality="HQ") for waveform in waveforms]
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(pcm.resample, waveforms * 4, [rate_hz] * 24))
    pairs = zip(expected * 4, found, strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)


def test_16_khz_is_left_alone() -> None:
    waveform = sine(300, 16_000)
    assert pcm.resample(waveform, 16_000) is waveform


def test_pcm16_rounds_and_clips() -> None:
    waveform = np.array([0, 0.5, 1, 7, -1, -7, 0.6 / 32_768, -0.6 / 32_768], np.float32)
    assert pcm.to_pcm16(waveform).tolist() == [0, 16_384, 32_767, 32_767, -32_768, -32_768, 1, -1]


@pytest.mark.parametrize("tenths", [9, 11])
def test_speed_changes_length_and_pitch(tenths: int) -> None:
    time_seconds = np.arange(16_001) / 16_000
    tone = (10_000 * np.sin(2 * np.pi * 1_000 * time_seconds)).astype(np.int16)
    changed = pcm.change_speed(tone, tenths)
    assert changed.dtype == np.int16 and len(changed) == pcm.perturbed_length(16_001, tenths) == 160_010 // tenths
    spectrum = np.abs(np.fft.rfft(changed[1_000:13_000] * np.hanning(12_000)))
    assert spectrum.argmax() * 16_000 / 12_000 == pytest.approx(1_000 * tenths / 10, abs=2)
    assert np.abs(changed[1_000:-1_000]).max() == pytest.approx(10_000, rel=0.02)


def test_speed_changes_alike_in_every_thread() -> None:
    """Of these lengths, soxr gets the end of some wrong if it resamples 16-bit samples: it reads unwritten memory."""
    lengths = [*range(43_250, 43_550, 2), *range(52_800, 52_950)]
    tenths = [9] * 150 + [11] * 150
    rng = np.random.default_rng(0)
    waveforms = [rng.integers(-20_000, 20_000, length).astype(np.int16) for length in lengths]
    one_by_one = list(map(pcm.change_speed, waveforms, tenths))
    with ThreadPoolExecutor(2) as threads:
        two_at_a_time = list(threads.map(pcm.change_speed, waveforms, tenths))
    pairs = zip(lengths, one_by_one, two_at_a_time, strict=True)
    assert [length for length, expected, found in pairs if not np.array_equal(expected, found)] == []
