"""The column `channel` of two-speaker calls, through the builder's payloads."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.audio import sine
from helpers.sharding import payload_of

from asrscale.common.errors import AudioError
from asrscale.corpus.checks import Rules
from asrscale.corpus.payload import Storage
from asrscale.sources.rows import Row
from asrscale.speech.decoding import decode_payload

LEFT, RIGHT = sine(300, 16_000), sine(500, 16_000)
RULES = Rules(min_seconds=0.1, max_seconds=20)


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calls")
    soundfile.write(folder / "both.wav", np.stack([LEFT, RIGHT], axis=1), 16_000)
    soundfile.write(folder / "one.wav", LEFT, 16_000)
    soundfile.write(folder / "opposite.wav", np.stack([LEFT, -LEFT], axis=1), 16_000)
    return folder


def built(folder: Path, name: str, channel: str, codec: Storage = "flac") -> np.ndarray:
    row = Row(2, "a.csv", name, "one two", {"channel": channel} if channel else {})
    return decode_payload(payload_of(row, str(folder), RULES, codec).audio) / 32_768


@pytest.mark.parametrize("channel", ["0", "1", "left", "Right", " 1 ", "1.0", "0.0"])
def test_a_channel_is_that_of_its_number_or_side(calls: Path, channel: str) -> None:
    expected = RIGHT if channel.strip().lower() in ("1", "1.0", "right") else LEFT
    assert np.abs(built(calls, "both.wav", channel) - expected).max() < 1e-3


def test_without_the_column_it_is_the_mean(calls: Path) -> None:
    assert np.abs(built(calls, "both.wav", "") - (LEFT + RIGHT) / 2).max() < 1e-3


@pytest.mark.parametrize("channel", ["0", "left", "telephone", ""])
@pytest.mark.parametrize("codec", ["flac", "original"])
def test_a_recording_of_one_channel_has_nothing_to_choose(calls: Path, channel: str, codec: Storage) -> None:
    assert np.abs(built(calls, "one.wav", channel, codec) - LEFT).max() < 1e-3


@pytest.mark.parametrize(
    ("name", "channel", "codec", "why"),
    [
        ("both.wav", "2", "flac", "channel: the row asks for number 2 of its 2, counted from 0"),
        ("one.wav", "1", "flac", "channel: the row asks for number 1 of its 1, counted from 0"),
        ("one.wav", "right", "original", "channel: the row asks for number 1 of its 1, counted from 0"),
        (
            "both.wav",
            "telephone",
            "flac",
            "channel: 'telephone' is none: give a number from 0, left or right",
        ),
        ("both.wav", "-1", "flac", "channel: '-1' is none"),
        ("both.wav", "left", "original", "channel: one of its recording's, which can only be stored with the others"),
        ("opposite.wav", "", "flac", "opposite phases: its channels cancel each other out"),
        ("opposite.wav", "", "original", "opposite phases: its channels cancel each other out"),
    ],
)
def test_what_cannot_be_chosen_is_refused(calls: Path, name: str, channel: str, codec: Storage, why: str) -> None:
    with pytest.raises(AudioError, match=f"^{why}"):
        built(calls, name, channel, codec)


def test_opposite_phases_have_two_channels_to_choose_from(calls: Path) -> None:
    assert np.abs(built(calls, "opposite.wav", "right") + LEFT).max() < 1e-3
