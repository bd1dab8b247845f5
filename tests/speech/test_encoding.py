"""Samples to bytes: repeatable, and whole to other readers."""

import io

import numpy as np
import pytest
from helpers.audio import encoded, sine

from asrscale.speech import decoding, encoding, pcm


@pytest.mark.parametrize("codec", ["flac", "wav"])
def test_lossless_codecs_are_repeatable(codec: encoding.Codec) -> None:
    noise = np.random.default_rng(0).integers(-32_768, 32_768, 5_000).astype(np.int16)
    data = encoding.encode(noise, codec)
    assert np.array_equal(decoding.decode_payload(data), noise)
    assert encoding.encode(noise, codec) == data
    assert np.array_equal(pcm.to_pcm16(decoding.decode(io.BytesIO(data), 1)[0]), noise)


def test_opus_is_repeatable_keeps_the_length_and_is_whole_to_other_readers() -> None:
    for samples in (999, 16_000, 160_001):  # the last has several Ogg pages of sound
        tone = pcm.to_pcm16(sine(300, 16_000, 11)[:samples])
        data = encoding.encode(tone, "opus")
        assert encoding.encode(tone, "opus") == data and len(data) < 2_000 + samples / 4
        decoded = decoding.decode_payload(data).astype(np.float64)
        assert len(decoded) == samples
        if samples > 999:
            assert np.corrcoef(decoded, tone)[0, 1] > 0.99


def test_ogg_pages_without_a_serial_number_have_the_checksum_of_libogg() -> None:
    data = encoded(sine(300, 16_000, 11), 16_000, "OGG")
    page = bytearray(data[: data.index(b"OggS", 4)])
    checksum = int.from_bytes(page[22:26], "little")
    page[22:26] = bytes(4)
    assert encoding._ogg_checksum(page) == checksum
