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
    read_stored_pcm16,
    read_to_last_byte,
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


def test_a_whole_mp3_is_read_to_its_last_byte_and_a_cut_one_is_left_to_a_closer_look() -> None:
    data = encoded(sine(440, 48_000), 48_000, "MP3")
    block = read_to_last_byte(io.BytesIO(data))
    assert block is not None and block.rate_hz == 48_000 and abs(block.end - 48_000) < 2_305
    assert read_to_last_byte(io.BytesIO(data + data)) is None


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
