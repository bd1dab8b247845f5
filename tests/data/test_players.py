"""Players of an HTML page."""

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.audio import encoded, sine
from helpers.broken_disk import break_sector

from asrscale.common import html
from asrscale.data import players
from asrscale.data.index import read_index
from asrscale.data.players import _to_mp3


def recording_in(cell: html.Block) -> tuple[np.ndarray, int]:
    """Samples and rate of the mp3 in a player."""
    waveform, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(cell["mp3"])))
    return waveform, rate_hz


def test_a_player_holds_the_recording() -> None:
    mp3 = _to_mp3(encoded(sine(400, 48_000, 1.5, level=0.3), 48_000, "FLAC"))
    assert mp3 is not None and len(mp3) < 1.7 * 24_000 / 8
    cell = html.sound("k", mp3)
    page = html.page("title", "summary", {"section": [html.table("c", ["a", "b"], [["x", cell]])]})
    assert f'<audio controls preload="none" aria-label="recording k" src="data:audio/mpeg;base64,{cell["mp3"]}"' in page
    waveform, rate_hz = recording_in(cell)
    assert rate_hz == 16_000
    assert abs(len(waveform) / rate_hz - 1.5) < 0.1
    assert 0.2 < np.abs(waveform).max() < 0.4


def test_players_are_of_the_utterances(tone_shards: Path) -> None:
    index = read_index([str(tone_shards / "train")])
    numbers = [len(index) - 1, 3, *range(5, 5 + players.READ_AT_ONCE)]
    cells = players.players(index, numbers)
    assert list(cells) == numbers
    for number in numbers[:3]:
        waveform, rate_hz = recording_in(cells[number])
        assert cells[number]["name"] == index.keys[number].as_py()
        assert abs(len(waveform) - index.num_samples[number]) < 0.11 * rate_hz


def test_an_utterance_that_cannot_be_read_has_no_player(tone_shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = read_index([str(tone_shards / "train")])
    break_sector(monkeypatch, index.payload(3))
    assert list(players.players(index, [3, 4])) == [4]
    gone = replace(index, shards=("/nowhere/x.tar", *index.shards[1:]))
    assert players.players(gone, [0]) == {}
    assert _to_mp3(b"this is no recording") is None


def test_the_sound_of_a_page_is_bounded(tone_shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = read_index([str(tone_shards / "train")])
    seconds = index.num_samples[:10] / 16_000
    monkeypatch.setattr(players, "SOUND_SECONDS", float(seconds[:4].sum()) + 0.01)
    assert list(players.players(index, range(10))) == [0, 1, 2, 3]
