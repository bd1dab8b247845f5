"""What libsndfile decodes, beside what it was given."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.audio import encoded, sine

from asrscale.common.errors import AudioError
from asrscale.speech.blocks import UnknownFormatError
from asrscale.speech.libsndfile import (
    BLOCK_FRAMES,
    libsndfile_frames,
    read_short_mp3,
    read_stored_pcm16,
    read_with_libsndfile,
)


def test_blocks_follow_one_another_without_a_gap(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-9_000, 9_000, (BLOCK_FRAMES + 1_000, 2), dtype=np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 48_000)
    blocks = list(read_with_libsndfile(str(tmp_path / "a.wav")))
    assert [block.start for block in blocks] == [0, BLOCK_FRAMES] and blocks[-1].end == len(samples)
    assert np.array_equal(np.concatenate([block.samples for block in blocks]) * 32_768, samples)
    assert libsndfile_frames(str(tmp_path / "a.wav")) == (len(samples), 48_000)


def test_a_segment_begins_at_its_sample(tmp_path: Path) -> None:
    samples = np.arange(16_000, dtype=np.int16)
    soundfile.write(tmp_path / "a.flac", samples, 16_000)
    [block] = read_with_libsndfile(str(tmp_path / "a.flac"), 0.25, 0.5)
    assert block.start == 4_000 and np.array_equal(block.samples[:, 0] * 32_768, samples[4_000:8_000])


def test_what_lies_behind_the_sound_of_an_mp3_is_noticed() -> None:
    data = encoded(sine(440, 48_000), 48_000, "MP3")
    mp3 = read_short_mp3(io.BytesIO(data))
    assert mp3 is not None and mp3.is_read_to_end
    assert mp3.block.rate_hz == 48_000 and abs(mp3.block.end - 48_000) < 2_305
    joined = read_short_mp3(io.BytesIO(data + data))
    assert joined is None or not joined.is_read_to_end
    assert read_short_mp3(io.BytesIO(data[: len(data) // 2])) is None


def test_stored_samples_come_as_they_are(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-9_000, 9_000, 5_000, dtype=np.int16)
    data = encoded(samples, 16_000, "FLAC")
    assert np.array_equal(read_stored_pcm16(data, 1 << 20), samples)
    assert read_stored_pcm16(encoded(samples, 8_000, "FLAC"), 1 << 20) is None  # is resampled
    assert read_stored_pcm16(data + data, 1 << 20) is None  # goes on behind its end
    with pytest.raises(AudioError):
        read_stored_pcm16(data[: len(data) // 2], 1 << 20)


def test_what_it_does_not_know_is_said_to_be_so() -> None:
    with pytest.raises(UnknownFormatError, match=r"^unreadable: "):
        list(read_with_libsndfile(io.BytesIO(b"no sound at all" * 99)))
