"""16 kHz PCM to the bytes of an audio file: the codecs that shards store."""

import io
import zlib
from typing import Any, Literal

import numpy as np
import soundfile

from asrscale.speech.pcm import SAMPLE_RATE_HZ, Pcm

Codec = Literal["flac", "wav", "opus"]

# libsndfile's names. mp3 is no codec of shards, because it pads, but every browser plays it.
_CONTAINERS = {"flac": "FLAC", "wav": "WAV", "opus": "OGG", "mp3": "MP3"}

# 24 kbit/s, at which speech is as clear as before; libsndfile's own choice takes twice that.
_SMALL_MP3: dict[str, Any] = {"compression_level": 0.9, "bitrate_mode": "CONSTANT"}

# The header of an Ogg page (RFC 3533, section 6): where its fields begin and end, and how long it is without the
# lengths of its segments.
_OGG_SERIAL_NUMBER = slice(14, 18)
_OGG_CHECKSUM = slice(22, 26)
_OGG_SEGMENT_COUNT = 26
_OGG_HEADER_BYTES = 27

# Each byte with its bits the other way round.
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def encode(pcm: Pcm, codec: Codec | Literal["mp3"]) -> bytes:
    """Encodes 16-bit samples (T,) at 16 kHz.

    Returns:
        The same bytes for the same samples; as many samples are decoded from them again, except from mp3.
    """
    # None is the container's default: 16 bits, and the only subtype of mp3.
    subtype = "OPUS" if codec == "opus" else None
    buffer = io.BytesIO()
    container = _CONTAINERS[codec]
    how = _SMALL_MP3 if codec == "mp3" else {}
    with soundfile.SoundFile(buffer, "w", SAMPLE_RATE_HZ, channels=1, format=container, subtype=subtype, **how) as file:
        # Otherwise soundfile seeks to the position it is at after it has written.
        file.seekable = lambda: False
        file.buffer_write(np.ascontiguousarray(pcm), dtype="int16")
    if codec == "opus":
        return _without_serial_number(buffer.getvalue())
    return buffer.getvalue()


def _without_serial_number(ogg: bytes) -> bytes:
    """Returns an Ogg stream with serial number 0, where libsndfile writes a random one."""
    pages = bytearray()
    while len(pages) < len(ogg):
        start = len(pages)
        page = bytearray(ogg[start : _ogg_page_end(ogg, start)])
        page[_OGG_SERIAL_NUMBER] = bytes(4)
        page[_OGG_CHECKSUM] = bytes(4)  # a page's checksum is computed with 0 in its place
        page[_OGG_CHECKSUM] = _ogg_checksum(page).to_bytes(4, "little")
        pages += page
    return bytes(pages)


def _ogg_page_end(ogg: bytes, start: int) -> int:
    """Returns where the page at `start` ends: after its header, the lengths of its segments, and the segments."""
    lengths_start = start + _OGG_HEADER_BYTES
    segments_start = lengths_start + ogg[start + _OGG_SEGMENT_COUNT]
    return segments_start + sum(ogg[lengths_start:segments_start])


def _ogg_checksum(page: bytearray) -> int:
    """Returns Ogg's CRC-32 of a page, by zlib's.

    Both have the same polynomial. But zlib takes the bits of each byte, and gives those of the result, the other way
    round, and it inverts its register before and after.
    """
    inverted = zlib.crc32(page.translate(_MIRRORED), 0xFFFF_FFFF)
    mirrored = inverted ^ 0xFFFF_FFFF
    return int(f"{mirrored:032b}"[::-1], 2)
