"""16 kHz PCM to the bytes of an audio file: the codecs that shards store."""

import io
import zlib
from typing import Literal

import soundfile

from asrscale.speech.pcm import SAMPLE_RATE_HZ, Pcm

Codec = Literal["flac", "wav", "opus"]


# libsndfile's containers. mp3 is no codec of shards (it pads), but what every browser plays.
_CONTAINERS = {"flac": "FLAC", "wav": "WAV", "opus": "OGG", "mp3": "MP3"}


_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def encode(pcm: Pcm, codec: Codec | Literal["mp3"]) -> bytes:
    """Encodes 16-bit samples (T,) at 16 kHz; the same samples give the same bytes, and as many are decoded again."""
    buffer = io.BytesIO()
    subtype = "OPUS" if codec == "opus" else None  # by default 16 bits, and mp3's only one
    soundfile.write(buffer, pcm, SAMPLE_RATE_HZ, format=_CONTAINERS[codec], subtype=subtype)
    return _without_serial_number(buffer.getvalue()) if codec == "opus" else buffer.getvalue()


def _without_serial_number(ogg: bytes) -> bytes:
    """The stream with serial number 0, where libsndfile puts a random one."""
    data, start = bytearray(ogg), 0
    while start < len(data):  # a page (RFC 3533): 27 bytes, of which the last counts its segments; their lengths; they
        table = start + 27
        segments = table + data[table - 1]
        end = segments + sum(data[table:segments])
        data[start + 14 : start + 18] = data[start + 22 : start + 26] = bytes(4)  # serial number, checksum
        data[start + 22 : start + 26] = _ogg_checksum(data[start:end]).to_bytes(4, "little")
        start = end
    return bytes(data)


def _ogg_checksum(page: bytearray) -> int:
    """Ogg's CRC-32: that of zlib with the bits of bytes and result the other way round, and no inversions."""
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int(f"{mirrored:032b}"[::-1], 2)
