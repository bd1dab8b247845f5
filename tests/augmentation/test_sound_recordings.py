"""Stretches of recordings of many formats, and of the utterances of shards."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.audio import encoded_by_ffmpeg, sine

from asrscale.augmentation.effects import Effect
from asrscale.augmentation.sound_folders import open_folder
from asrscale.augmentation.sound_recordings import (
    MAX_SECONDS_FROM_START,
    Recordings,
    read_impulse_response,
    read_stretch,
)
from asrscale.common.errors import AudioError
from asrscale.data.index import read_index
from asrscale.speech import libsndfile
from asrscale.speech.decoding import decode


def noises(folder: Path) -> Recordings:
    return open_folder(Effect("noise", folder=str(folder), range_db=(0, 0)))


def ramp(seconds: float, rate_hz: int = 16_000) -> np.ndarray:
    """A sound whose value tells the time: 0.001 for each second."""
    return (np.arange(int(seconds * rate_hz)) / rate_hz / 1_000).astype(np.float32)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_a_stretch_begins_anywhere_from_the_first_place_to_the_last(suffix: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / f"long.{suffix}", ramp(30), 16_000, subtype="PCM_24")
    recordings = noises(tmp_path)
    for place, begins_seconds in ((0.0, 0.0), (0.5, 14.0), (0.999999, 28.0)):
        stretch = read_stretch(recordings, 0, place, 2 * 16_000)
        assert stretch.dtype == np.float32 and len(stretch) == 32_000
        assert stretch[0] * 1_000 == pytest.approx(begins_seconds, abs=0.01)
        assert stretch[-1] * 1_000 == pytest.approx(begins_seconds + 2, abs=0.01)


def test_no_more_of_a_long_recording_is_decoded_than_the_stretch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "hour.wav", np.zeros(3_600 * 8_000, np.int16) + 7, 8_000)
    recordings = noises(tmp_path)
    frames = 0
    read = libsndfile._read

    def counted(file: soundfile.SoundFile, wanted: int) -> np.ndarray:
        nonlocal frames
        samples = read(file, wanted)
        frames += len(samples)
        return samples

    monkeypatch.setattr(libsndfile, "_read", counted)
    assert len(read_stretch(recordings, 0, 0.7, 80_000)) == 80_000
    assert frames <= 5 * 8_000 + 1


def test_a_short_recording_is_repeated_from_the_place_on(tmp_path: Path) -> None:
    short = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    soundfile.write(tmp_path / "short.wav", short, 16_000, subtype="FLOAT")
    stretch = read_stretch(noises(tmp_path), 0, 0.5, 10)
    assert np.allclose(stretch, [0.3, 0.4, 0.1, 0.2, 0.3, 0.4, 0.1, 0.2, 0.3, 0.4])


def test_other_rates_and_several_channels_become_16_khz_and_their_mean(tmp_path: Path) -> None:
    left, right = sine(500, 44_100, 5.0), sine(1_000, 44_100, 5.0)
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, right], 1), 44_100)
    stretch = read_stretch(noises(tmp_path), 0, 0.3, 32_000)
    spectrum = np.abs(np.fft.rfft(stretch * np.hanning(32_000)))
    assert sorted(np.argsort(spectrum)[-2:] / 2) == [500, 1_000]
    assert len(stretch) == 32_000


@pytest.mark.parametrize(("suffix", "container", "codec"), [("mp3", "mp3", "libmp3lame"), ("m4a", "mp4", "aac")])
def test_of_a_long_recording_that_cannot_be_entered_only_the_beginning_is_used_and_that_is_said(
    suffix: str, container: str, codec: str, tmp_path: Path
) -> None:
    seconds = int(MAX_SECONDS_FROM_START) + 20
    late = np.where(np.arange(seconds * 16_000) < MAX_SECONDS_FROM_START * 16_000, sine(300, 16_000, seconds), 0)
    (tmp_path / f"long.{suffix}").write_bytes(encoded_by_ffmpeg(late.astype(np.float32), 16_000, container, codec))
    recordings = noises(tmp_path)
    assert len(recordings.notes) == 1 and "of 1 long recordings only the first 60 s are used" in recordings.notes[0]
    last = read_stretch(recordings, 0, 0.9999, 16_000)
    assert np.sqrt(np.mean(last[:15_000] ** 2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)
    assert len(read_stretch(recordings, 0, 0.5, 70 * 16_000)) == 70 * 16_000


@pytest.mark.parametrize("rate_hz", [1_000, 6_000, 8_000, 11_025, 44_100])
def test_a_stretch_of_any_rate_has_no_seam(rate_hz: int, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "ramp.wav", ramp(9, rate_hz), rate_hz, subtype="FLOAT")
    recordings = noises(tmp_path)
    for number in range(40):
        stretch = read_stretch(recordings, 0, number / 40 + 0.0123, 16_000 + 7 * number)
        inner = stretch[2_000:-2_000]  # away from where the resampling filter meets the ends
        assert len(stretch) == 16_000 + 7 * number
        assert np.abs(np.diff(inner)).max() < 2e-6  # a seam would be 0.001
        assert inner[-1] - inner[0] == pytest.approx(len(inner) / 16_000 / 1_000, rel=0.02)


def test_the_utterances_of_shards_are_noises_too(tone_shards: Path) -> None:
    recordings = noises(tone_shards / "valid")
    index = read_index([str(tone_shards / "valid")])
    assert len(recordings) == len(index) and recordings.index is not None
    length = int(index.num_samples[2])
    whole = read_stretch(recordings, 2, 0.0, length)
    assert len(whole) == length and whole.any()
    assert np.array_equal(read_stretch(recordings, 2, 0.999999, 1_000), whole[-1_000:])
    assert np.array_equal(read_stretch(recordings, 2, 0.0, 2 * length), np.concatenate([whole, whole]))


def test_each_channel_of_an_impulse_response_is_one_of_its_own(tmp_path: Path) -> None:
    responses = np.zeros((1_000, 2), np.float32)
    responses[10, 0], responses[400, 1] = 0.5, -0.25
    soundfile.write(tmp_path / "room.wav", responses, 16_000, subtype="FLOAT")
    recordings = open_folder(Effect("rir", folder=str(tmp_path)))
    for channel, place in ((0.0, 10), (0.49, 10), (0.5, 400), (0.99, 400)):
        assert np.abs(read_impulse_response(recordings, 0, channel)).argmax() == place


def test_what_is_damaged_or_gone_is_named(tmp_path: Path, own_shards: Path) -> None:
    soundfile.write(tmp_path / "a.wav", ramp(3), 16_000)
    recordings = noises(tmp_path)
    (tmp_path / "a.wav").write_bytes(b"RIFF, or what is left of it")
    with pytest.raises(AudioError, match=rf"^{tmp_path}/a\.wav: unreadable"):
        read_stretch(recordings, 0, 0.0, 16_000)
    (tmp_path / "a.wav").unlink()
    with pytest.raises(AudioError, match=rf"^{tmp_path}/a\.wav: unreadable: No such file"):
        read_stretch(recordings, 0, 0.0, 16_000)

    shards = noises(own_shards / "valid")
    assert shards.index is not None
    shard = Path(shards.index.shards[0])
    content = bytearray(shard.read_bytes())
    content[int(shards.index.offsets[0]) + 100] ^= 1
    shard.write_bytes(content)
    with pytest.raises(AudioError, match=r"\.tar:.*: checksum: differs from the index"):
        read_stretch(shards, 0, 0.0, 100)


def test_a_stretch_is_what_decoding_all_of_it_gives(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.wav", rng.normal(0, 0.1, 160_000), 16_000)
    whole, _ = decode(tmp_path / "a.wav", 60)
    stretch = read_stretch(noises(tmp_path), 0, 0.25, 16_000)
    first = round(0.25 * 9 * 16_000)
    assert np.array_equal(stretch, whole[first : first + 16_000])
