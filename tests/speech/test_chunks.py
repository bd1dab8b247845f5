"""Lengths in the headers of uncompressed files, right and wrong."""

import io
from typing import Literal

import numpy as np
import pytest
from helpers.audio import encoded, id3v2_tag

from asrscale.common.errors import AudioError
from asrscale.speech.chunks import sound_bytes
from asrscale.speech.decoding import decode

NOISE = np.random.default_rng(0).normal(0, 0.1, 80_000).astype(np.float32)
# Where each format has the length of its sound: behind which bytes, of how many bytes, in which order.
LENGTHS = {
    "WAV": (b"data", 0, 4, "little"),
    "AIFF": (b"SSND", 0, 4, "big"),
    "AU": (b".snd", 4, 4, "big"),
    "CAF": (b"data", 0, 8, "big"),
    "W64": (b"data\xf3\xac\xd3\x11", 8, 8, "little"),
}


def with_length(format: str, change: float | None) -> bytes:
    """A file that says it is `change` times as long as it is; None for the placeholder of a streamed one."""
    data = encoded(NOISE, 16_000, format)
    name, gap, size, order = LENGTHS[format]
    start = data.index(name) + len(name) + gap
    length = int.from_bytes(data[start : start + size], order)  # type: ignore[arg-type]
    new = 256**size - 1 if change is None else int(length * change)
    return data[:start] + new.to_bytes(size, order) + data[start + size :]  # type: ignore[arg-type]


@pytest.mark.parametrize("format", LENGTHS)
def test_true_lengths(format: str) -> None:
    data = encoded(NOISE, 16_000, format)
    sound = sound_bytes(data)
    assert sound and sound.promised == sound.found and not sound.surplus
    assert 160_000 <= sound.found <= 160_024


@pytest.mark.parametrize(("format", "order"), [("WAV", "little"), ("AIFF", "big")])
def test_chunks_and_tags_behind_the_sound_are_no_sound(format: str, order: Literal["little", "big"]) -> None:
    data = encoded(NOISE, 16_000, format)
    for tag in (b"LIST" + (20_000).to_bytes(4, order) + b"INFO" + bytes(19_996), bytes(50_000), id3v2_tag(20_000)):
        sound = sound_bytes(data + tag)
        assert sound and sound.promised == sound.found and not sound.surplus


@pytest.mark.parametrize("format", LENGTHS)
def test_more_sound_than_the_header_says_is_refused(format: str) -> None:
    with pytest.raises(AudioError, match=r"^longer than its header says: it goes on for (79|80),\d+ bytes$"):
        decode(io.BytesIO(with_length(format, 0.5)), 20)


@pytest.mark.parametrize("format", LENGTHS)
def test_less_sound_than_the_header_says_is_refused(format: str) -> None:
    with pytest.raises(AudioError, match=r"^truncated: 80,000 of 160,0\d\d frames could be decoded$"):
        decode(io.BytesIO(with_length(format, 2)), 20)


@pytest.mark.parametrize(("format", "change"), [(name, None) for name in LENGTHS] + [("WAV", 0.0), ("AIFF", 0.0)])
def test_a_length_that_was_never_filled_in_is_none(format: str, change: float | None) -> None:
    samples, _ = decode(io.BytesIO(with_length(format, change)), 20)
    assert abs(len(samples) - 80_000) <= 16  # W64 and CAF: the header of the chunk counts for some
    assert np.abs(samples[:79_000] - NOISE[:79_000]).max() < 1e-4


@pytest.mark.parametrize("data", [b"", b"RIFF", b"RIFF\0\0\0\0WAVE", b".snd", b"caff" + bytes(9), b"fLaC", bytes(50)])
def test_no_sound(data: bytes) -> None:
    assert sound_bytes(data) is None
