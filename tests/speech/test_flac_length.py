"""The length of FLAC files, by their last frame."""

import io

import numpy as np
import pytest
import soundfile
from helpers.audio import encoded_by_ffmpeg

from asrscale.speech.flac_length import has_true_length

NOISE = np.random.default_rng(0).normal(0, 0.1, (50_000, 2))


def flac(num_samples: int, channels: int = 1, subtype: str = "PCM_16", rate_hz: int = 16_000) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, NOISE[:num_samples, :channels], rate_hz, format="FLAC", subtype=subtype)
    return buffer.getvalue()


def with_length(data: bytes, num_samples: int) -> bytes:
    """A file that says it has so many samples, which the last 36 of these 64 bits count."""
    field = int.from_bytes(data[18:26])
    return data[:18] + (field >> 36 << 36 | num_samples).to_bytes(8) + data[26:]


@pytest.mark.parametrize("num_samples", [1, 100, 4_095, 4_096, 4_097, 50_000])
@pytest.mark.parametrize(("channels", "subtype", "rate_hz"), [(1, "PCM_16", 16_000), (2, "PCM_24", 44_100)])
def test_whole_files_and_others(num_samples: int, channels: int, subtype: str, rate_hz: int) -> None:
    data = flac(num_samples, channels, subtype, rate_hz)
    assert has_true_length(data, 0)
    assert has_true_length(b"ID3" + data, 3)
    assert has_true_length(data + b"TAG" + bytes(125), 0)
    for other in (0, num_samples + 1, num_samples // 2, 1 << 35):
        assert not has_true_length(with_length(data, other), 0)
    assert not has_true_length(data + data, 0)
    assert not has_true_length(data + flac(5_000), 0)


def test_another_encoder() -> None:
    assert has_true_length(encoded_by_ffmpeg(NOISE.astype(np.float32), 48_000, "flac", "flac"), 0)


def test_a_file_without_its_end() -> None:
    data = flac(50_000)
    assert not has_true_length(data[: len(data) // 2], 0)
    assert not has_true_length(data[:30], 0)
