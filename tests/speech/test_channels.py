import io

import numpy as np
import pytest
import soundfile

from asrscale.common.errors import AudioError
from asrscale.speech.channels import Channels, find_channels

RNG = np.random.default_rng(0)


def sound(seconds: float = 2.0) -> np.ndarray:
    return (0.1 * RNG.standard_normal(int(16_000 * seconds))).astype(np.float32)


def found(channels: list[np.ndarray], format: str = "FLAC") -> Channels:
    data = io.BytesIO()
    soundfile.write(data, np.stack(channels, axis=1), 16_000, format=format)
    return find_channels(io.BytesIO(data.getvalue()))


def test_channels_that_say_nothing_of_their_own_are_left_out_and_named() -> None:
    one, other, quiet = sound(), sound(), np.zeros(32_000, np.float32)
    assert found([one]) == Channels((0,)) and found([one, other]) == Channels((0, 1))
    assert found([one, one]) == Channels((0,), ("channel 2 is the same as channel 1: it is transcribed once",))
    assert found([one, -one]) == Channels((0,), ("channel 2 is the opposite of channel 1: it is transcribed once",))
    assert found([quiet, one]) == Channels((1,), ("channel 1 is silent: it is left out",))
    assert found([one, quiet, other, one]).distinct == (0, 2)
    assert found([quiet, quiet]) == Channels((0,), ("all of it is silent",))
    assert found([one, 0.3 * one, -0.1 * one]).distinct == (0,)  # at other levels, as a mixer's panorama makes them
    assert found([one, one + 0.2 * other]).distinct == (0, 1)  # who is on the other end is heard a little


@pytest.mark.parametrize("format", ["OGG", "MP3"])
def test_equal_channels_of_a_lossy_recording_are_the_same(format: str) -> None:
    one = np.convolve(sound(), np.ones(8) / 8, mode="same").astype(np.float32)
    assert found([one, one], format).distinct == (0,)


def test_no_samples_and_no_numbers_are_refused() -> None:
    for samples, reason in ((np.zeros((0, 2)), "empty"), (np.full((100, 2), np.nan), "non-finite")):
        data = io.BytesIO()
        soundfile.write(data, samples, 16_000, format="WAV", subtype="FLOAT")
        with pytest.raises(AudioError, match=reason):
            find_channels(io.BytesIO(data.getvalue()))
