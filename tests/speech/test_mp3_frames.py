"""Frames of mp3s, counted by their headers, beside what ffmpeg decodes."""

import numpy as np
import pytest
from helpers.audio import decoded_by_ffmpeg, encoded_by_ffmpeg, id3v2_tag

from asrscale.speech.mp3_frames import find_frames

BARE = {"write_xing": "0", "id3v2_version": "0"}


def mp3(rate_hz: int = 48_000, channels: int = 1, seed: int = 0, **options: str) -> bytes:
    """Two seconds of noise that rises and falls, so that frames of a variable bit rate differ."""
    time_seconds = np.arange(2 * rate_hz) / rate_hz
    noise = np.random.default_rng(seed).uniform(-1, 1, (2 * rate_hz, channels))
    waveform = (noise * np.sin(3 * time_seconds)[:, None] ** 4 / 2).astype(np.float32)
    return encoded_by_ffmpeg(waveform, rate_hz, "mp3", "libmp3lame", options)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [{"b": "64k"}, {"q": "4", "flags": "+qscale"}])
def test_as_many_samples_as_ffmpeg_decodes(rate_hz: int, channels: int, rate: dict[str, str]) -> None:
    data = mp3(rate_hz, channels, **BARE, **rate)
    found = find_frames(data)
    assert found.num_samples == len(decoded_by_ffmpeg(data)[0])
    assert found.spans == (slice(0, len(data)),) and found.is_one_encoding and found.announced_frames is None


def test_layer_two() -> None:
    data = encoded_by_ffmpeg(np.zeros(48_000, np.float32), 48_000, "mp2", "mp2")
    assert find_frames(data).num_samples == len(decoded_by_ffmpeg(data)[0])


def test_the_frame_that_announces_the_others_is_none_of_them() -> None:
    data, bare = mp3(id3v2_version="0"), mp3(**BARE)
    found = find_frames(data)
    assert found.announced_frames == found.num_frames == find_frames(bare).num_frames
    assert find_frames(data[: len(data) // 2]).announced_frames == found.num_frames


def test_pictures_and_partial_frames_are_no_frames() -> None:
    one, other = mp3(seed=1, **BARE), mp3(seed=2, **BARE)
    picture = id3v2_tag(60_000).replace(b"JJJJJJJJ", b"\xff\xfb\x90\xc4JJJJ")
    found = find_frames(picture + one + picture + other + b"TAG" + bytes(125))
    assert [span.stop - span.start for span in found.spans] == [len(one), len(other)]
    assert (found.longest_gap_bytes, found.surplus_bytes) == (0, 0)

    cut = find_frames(one[100:] + other[:-100])
    assert cut.num_frames == find_frames(one + other).num_frames - 2
    assert 0 < cut.longest_gap_bytes < 1_441


def test_holes_and_what_follows_are_measured() -> None:
    data = mp3(**BARE)
    hole = data[:3_000] + b"\x55" * 5_000 + data[8_000:]
    assert 4_000 <= find_frames(hole).longest_gap_bytes < 6_441
    assert find_frames(data + b"\x55" * 7_000).surplus_bytes == 7_000


def test_two_encodings_are_told_apart() -> None:
    for other in (mp3(44_100, **BARE), mp3(48_000, 2, **BARE)):
        found = find_frames(mp3(**BARE) + other)
        assert not found.is_one_encoding and len(found.spans) == 2


@pytest.mark.parametrize("data", [b"", b"\xff" * 100_000, np.random.default_rng(0).bytes(1_000_000), bytes(5_000)])
def test_other_bytes_have_no_frames(data: bytes) -> None:
    assert not find_frames(data).spans
