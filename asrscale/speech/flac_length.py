"""Whether a FLAC file is as long as its header says, judged by its last frame.

Source: RFC 9639, "Free Lossless Audio Codec (FLAC)", sections 8.2 and 9.1.
"""

import re

from asrscale.speech.tags import Content

FLAC_MAGIC = b"fLaC"

_BEGINNING = re.compile(FLAC_MAGIC)  # a search is twice as fast as bytes.find
_STREAMINFO_START = 8  # behind the magic and the header of the block
_STREAMINFO_BYTES = 34

_SEARCHED_BYTES = 1 << 20  # more than the largest frame of 8 channels and 24 bits
_MAX_FRAME_HEADER_BYTES = 16
_FIXED_BLOCK_SIZE = 0xF8  # the second byte of a frame, where blocks are numbered
_VARIABLE_BLOCK_SIZE = 0xF9  # the same, where samples are

# Samples of a block by its code. For 6 and 7 they follow the block's number, less one, in so many bytes.
_BLOCK_SIZES = {1: 192, **{code: 144 << code for code in range(2, 6)}, **{code: 1 << code for code in range(8, 16)}}
_BLOCK_SIZE_BYTES = {6: 1, 7: 2}
_RATE_BYTES = {12: 1, 13: 2, 14: 2}  # of a sample rate behind that, by its code


def has_true_length(data: Content, start: int) -> bool:
    """Whether the FLAC file that begins at `start` has as many samples as its header says, and no other follows it."""
    streaminfo = data[start + _STREAMINFO_START : start + _STREAMINFO_START + _STREAMINFO_BYTES]
    if len(streaminfo) < _STREAMINFO_BYTES or _BEGINNING.search(data, start + 1):
        return False
    block_size = int.from_bytes(streaminfo[2:4])
    num_samples = int.from_bytes(streaminfo[10:18]) % (1 << 36)  # 0 where it was unknown when the header was written
    tail = data[max(start, len(data) - _SEARCHED_BYTES) :]
    return num_samples > 0 and _end_of_last_frame(tail, block_size) == num_samples


def _end_of_last_frame(tail: bytes, block_size: int) -> int | None:
    """Returns how many samples there are up to the end of the last frame; None where no frame is found.

    `block_size` is that of all blocks but the last, where it does not vary.
    """
    position = tail.rfind(b"\xff")
    while position >= 0:
        end = _end_of_frame(tail[position : position + _MAX_FRAME_HEADER_BYTES], block_size)
        if end is not None:
            return end
        position = tail.rfind(b"\xff", 0, position)
    return None


def _end_of_frame(header: bytes, block_size: int) -> int | None:
    """Returns how many samples there are up to the end of the frame with this header; None where it is no header."""
    if len(header) < 6 or header[1] not in (_FIXED_BLOCK_SIZE, _VARIABLE_BLOCK_SIZE):
        return None
    size_code = header[2] >> 4
    rate_code = header[2] & 0x0F
    number, position = _coded_number(header, 4)

    size_bytes = _BLOCK_SIZE_BYTES.get(size_code, 0)
    own_size = _BLOCK_SIZES.get(size_code, 0)
    if size_bytes:
        own_size = int.from_bytes(header[position : position + size_bytes]) + 1
    position += size_bytes + _RATE_BYTES.get(rate_code, 0)

    if not own_size or header[position : position + 1] != bytes([_checksum(header[:position])]):
        return None
    first_sample = number if header[1] == _VARIABLE_BLOCK_SIZE else number * block_size
    return first_sample + own_size


def _coded_number(header: bytes, start: int) -> tuple[int, int]:
    """Returns a number of up to 36 bits that is coded as UTF-8 codes characters, and where it ends."""
    first = header[start]
    more_bytes = max(0, 8 - (first ^ 0xFF).bit_length() - 1)
    number = first & (0x7F >> more_bytes)
    for byte in header[start + 1 : start + 1 + more_bytes]:
        number = number << 6 | byte & 0x3F
    return number, start + 1 + more_bytes


def _checksum(data: bytes) -> int:
    """Returns FLAC's CRC-8, whose polynomial is x^8 + x^2 + x + 1."""
    remainder = 0
    for byte in data:
        remainder = _CHECKSUMS[remainder ^ byte]
    return remainder


def _checksum_of_byte(byte: int) -> int:
    remainder = byte
    for _ in range(8):
        remainder = (remainder << 1) ^ (0x107 if remainder & 0x80 else 0)
    return remainder


_CHECKSUMS = tuple(_checksum_of_byte(byte) for byte in range(256))
