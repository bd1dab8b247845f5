"""Recordings by name and by length."""

import io
from pathlib import Path

import numpy as np
import pytest

from asrscale.common.errors import AudioError
from asrscale.speech.blocks import MAX_RATE_HZ, MIN_RATE_HZ, Block, NamedBytes, check_rate, extension_of, truncated


def test_a_recording_has_the_extension_of_its_name() -> None:
    assert extension_of("calls/A.B.VOX") == ".vox"
    assert extension_of(Path("calls/a")) == ""
    assert extension_of(NamedBytes(b"sound", "s3://bucket/a.GSM")) == ".gsm"
    assert extension_of(io.BytesIO(b"sound")) == ""


def test_a_block_ends_where_the_next_begins() -> None:
    assert Block(np.zeros((3, 2), np.float32), 16_000, start=5).end == 8


@pytest.mark.parametrize("rate_hz", [0, -1, MIN_RATE_HZ - 1, MAX_RATE_HZ + 1])
def test_rates_that_no_recording_has(rate_hz: int) -> None:
    with pytest.raises(AudioError, match=rf"^unreadable: a sample rate of {rate_hz:,} Hz$"):
        check_rate(rate_hz)


def test_rates_at_the_ends() -> None:
    check_rate(MIN_RATE_HZ)
    check_rate(MAX_RATE_HZ)


def test_a_truncated_recording_says_how_much_is_there() -> None:
    assert str(truncated(1_000, 48_000)) == "truncated: 1,000 of 48,000 frames could be decoded"
