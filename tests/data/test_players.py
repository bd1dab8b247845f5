"""Players of an HTML page."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.audio import encoded, sine
from helpers.broken_disk import break_sector

from asrscale.common import html
from asrscale.data.index import read_index
from asrscale.data.players import player, players


def recording_in(block: html.Block) -> tuple[np.ndarray, int]:
    """Samples and rate of the mp3 in a player."""
    waveform, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(block["mp3"])))
    return waveform, rate_hz


def test_a_player_holds_the_recording() -> None:
    block = player("c", encoded(sine(400, 48_000, 1.5, level=0.3), 48_000, "FLAC"))
    assert f'src="data:audio/mpeg;base64,{block["mp3"]}"' in html.page("title", "summary", {"section": [block]})
    waveform, rate_hz = recording_in(block)
    assert rate_hz == 16_000
    assert abs(len(waveform) / rate_hz - 1.5) < 0.1
    assert 0.2 < np.abs(waveform).max() < 0.4


def test_players_are_of_the_utterances_with_their_captions(tone_shards: Path) -> None:
    index = read_index([str(tone_shards / "train")])
    shown = players(index, {len(index) - 1: "last", 3: "fourth"})
    assert [block["caption"] for block in shown] == ["last", "fourth"]
    for block, number in zip(shown, (len(index) - 1, 3), strict=True):
        waveform, rate_hz = recording_in(block)
        assert abs(len(waveform) - index.num_samples[number]) < 0.1 * rate_hz


def test_an_utterance_that_cannot_be_read_has_no_player(tone_shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = read_index([str(tone_shards / "train")])
    break_sector(monkeypatch, index.payload(3))
    assert [block["caption"] for block in players(index, {3: "broken", 4: "good"})] == ["good"]
