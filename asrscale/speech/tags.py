"""Tags before, between and after the frames of a recording: how many bytes are none of its sound.

Sources: id3.org's "ID3 tag version 2.4.0" (section 3.1) and "ID3v1", the hydrogenaudio wiki's "APEv2 specification" and
"Lyrics3".
"""

from mmap import mmap
from typing import TypeAlias

Content: TypeAlias = bytes | mmap

_ID3V2_HEADER_BYTES = 10
_ID3V2_HAS_FOOTER = 0x10  # among the flags
_ID3V1_BYTES = 128
_APE_NAME = b"APETAGEX"
_APE_HEADER_BYTES = 32  # and as many of the footer
_APE_SIZE = slice(12, 16)  # in either: how long items and footer are together
_LYRICS_END = b"LYRICS200"
_SEARCHED_BYTES = 1 << 20  # of lyrics


def end_of_tags(data: Content, start: int) -> int:
    """Returns where the tags and zero bytes end that begin at `start`: `start` itself where there are none."""
    position = start
    while True:
        end = _end_of_zeros(data, _end_of_tag(data, position))
        if end == position:
            return position
        position = end


def start_of_last_tags(data: Content) -> int:
    """Returns where the tags begin that the data ends with; an APEv2 tag may be known by its last bytes alone."""
    start = len(data)
    if data[start - _ID3V1_BYTES : start - _ID3V1_BYTES + 3] == b"TAG":
        start -= _ID3V1_BYTES
    footer = data[max(0, start - _APE_HEADER_BYTES) : start]
    if footer.startswith(_APE_NAME):
        start -= int.from_bytes(footer[_APE_SIZE], "little")
    return max(0, start)


def _end_of_tag(data: Content, start: int) -> int:
    """Returns where the tag at `start` ends, at most the end of the data; `start` where there is none."""
    if data[start : start + 3] == b"ID3":
        end = start + _id3v2_bytes(data[start : start + _ID3V2_HEADER_BYTES])
    elif data[start : start + 8] == _APE_NAME:
        header = data[start : start + _APE_HEADER_BYTES]
        end = start + _APE_HEADER_BYTES + int.from_bytes(header[_APE_SIZE], "little")
    elif data[start : start + 3] == b"TAG":
        end = start + _ID3V1_BYTES
    elif data[start : start + 11] == b"LYRICSBEGIN":
        found = data.find(_LYRICS_END, start, start + _SEARCHED_BYTES)
        end = start if found < 0 else found + len(_LYRICS_END)
    else:
        end = start
    return min(end, len(data))


def _id3v2_bytes(header: bytes) -> int:
    """Returns how long an ID3v2 tag is by its header; 0 where that is damaged."""
    size_bytes = header[6:10]
    if len(size_bytes) < 4 or max(size_bytes) >= 0x80:  # seven bits in each, so that none looks like a frame
        return 0
    first, second, third, fourth = size_bytes
    content_bytes = first << 21 | second << 14 | third << 7 | fourth
    footer_bytes = _ID3V2_HEADER_BYTES if header[5] & _ID3V2_HAS_FOOTER else 0
    return _ID3V2_HEADER_BYTES + content_bytes + footer_bytes


def _end_of_zeros(data: Content, start: int) -> int:
    """Returns where a run of zero bytes ends that begins at `start`."""
    position = start
    while data[position : position + 1] == b"\0":
        block = data[position : position + _SEARCHED_BYTES]
        position += len(block) - len(block.lstrip(b"\0"))
    return position
