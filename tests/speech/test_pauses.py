import numpy as np
import pytest

from asrscale.speech.pauses import LEVEL_SAMPLES, Pause, find_quiet
from asrscale.speech.pcm import SAMPLE_RATE_HZ, Pcm

RNG = np.random.default_rng(0)
PAUSES_SECONDS = [(2.0, 2.6), (5.0, 5.25), (8.0, 9.5)]


def find_pauses(samples: Pcm) -> list[Pause]:
    return find_quiet(samples).pauses


def noise(seconds: float, level: float) -> np.ndarray:
    return level * RNG.standard_normal(int(seconds * SAMPLE_RATE_HZ))


def speech_like(background: float) -> Pcm:
    """Twelve seconds of noise in syllables of 200 ms, with pauses and a background."""
    time_seconds = np.arange(12 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    syllables = noise(12, 3_000) * (0.55 - 0.45 * np.cos(2 * np.pi * 5 * time_seconds))
    for start, end in PAUSES_SECONDS:
        syllables[int(start * SAMPLE_RATE_HZ) : int(end * SAMPLE_RATE_HZ)] = 0
    return (syllables + noise(12, background)).astype(np.int16)


@pytest.mark.parametrize("background", [0, 3, 100, 300])  # of digital silence to 17 dB below the speech
def test_pauses_are_found_whatever_the_background(background: float) -> None:
    found = find_pauses(speech_like(background))
    assert len(found) == len(PAUSES_SECONDS)
    for pause, (start, end) in zip(found, PAUSES_SECONDS, strict=True):
        # The syllables beside it begin and end quietly.
        assert start - 0.07 < pause.start / SAMPLE_RATE_HZ < start + 0.03
        assert end - 0.03 < pause.end / SAMPLE_RATE_HZ < end + 0.07
        assert pause.start <= pause.silence_start < (start + 0.05) * SAMPLE_RATE_HZ
        assert abs((pause.silence_start + pause.silence_end) / 2 / SAMPLE_RATE_HZ - (start + end) / 2) < 0.05


def test_nothing_is_a_pause_where_nothing_stands_out() -> None:
    time_seconds = np.arange(20 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    chord = sum(np.sin(2 * np.pi * hertz * time_seconds) for hertz in (220, 277, 330))
    tremolo = 3_000 * chord * (1 + 0.2 * np.sin(2 * np.pi * 0.7 * time_seconds))
    for sound in (tremolo, noise(20, 3_000), np.zeros(20 * SAMPLE_RATE_HZ), noise(0.01, 100), np.zeros(0)):
        assert find_pauses(sound.astype(np.int16)) == []


def test_the_loudest_samples_are_measured_without_overflow() -> None:
    loud = np.full(2 * SAMPLE_RATE_HZ, -32_768, np.int16)
    loud[SAMPLE_RATE_HZ:] = 0
    [pause] = find_pauses(loud)
    assert abs(pause.start - SAMPLE_RATE_HZ) <= 2 * LEVEL_SAMPLES and pause.end == 2 * SAMPLE_RATE_HZ
    assert Pause(16_000, 24_000, 20_000, 20_000).seconds == 0.5


def test_somebody_far_away_is_quiet_but_not_silent() -> None:
    """45 dB below the loudest is silence at most, here 38 dB; and less is, where a noise hides it anyway."""
    sound = np.concatenate([noise(4, 5_000), noise(1, 3), noise(0.5, 60), noise(0.4, 3), noise(4, 5_000)])
    [pause] = find_pauses(sound.astype(np.int16))
    assert abs(pause.seconds - 1.9) < 0.05
    assert abs(pause.silence_start / SAMPLE_RATE_HZ - 4) < 0.05 and abs(pause.silence_end / SAMPLE_RATE_HZ - 5) < 0.05
    [pause] = find_pauses((sound[: 5 * SAMPLE_RATE_HZ] + noise(5, 300)).astype(np.int16))
    assert abs(pause.silence_end - pause.end) <= 2 * LEVEL_SAMPLES and pause.silence_end == 5 * SAMPLE_RATE_HZ


def test_a_pause_without_silence_has_an_empty_one_where_it_is_quietest() -> None:
    far = np.concatenate([noise(0.7, 60), noise(0.05, 40), noise(0.3, 60)])
    sound = np.concatenate([noise(4, 5_000), far, noise(4, 5_000), noise(0.5, 3)]).astype(np.int16)
    far_pause, silent_pause = find_pauses(sound)
    assert far_pause.silence_start == far_pause.silence_end
    assert abs(far_pause.silence_start / SAMPLE_RATE_HZ - 4.725) < 0.03
    assert silent_pause.silence_end == silent_pause.end == len(sound)


def test_silence_that_goes_on_is_known_by_the_speech_before_it() -> None:
    quiet = find_quiet(np.concatenate([noise(3, 5_000), noise(3, 3)]).astype(np.int16))
    after = noise(20, 3).astype(np.int16)
    assert find_pauses(after) == []
    [pause] = find_quiet(after, quiet.silent_db).pauses
    assert (pause.start, pause.end) == (pause.silence_start, pause.silence_end) == (0, len(after))
    assert find_quiet(noise(20, 60).astype(np.int16), quiet.silent_db).pauses == []
