"""The links of an Ogg file: recordings that were put one behind the other, each of which is a file of its own.

Source: RFC 3533, "The Ogg Encapsulation Format Version 0", section 6.
"""

from dataclasses import dataclass

from asrscale.speech.tags import Content

OGG_MAGIC = b"OggS"  # what each page begins with

_HEADER_BYTES = 27  # of a page, without the lengths of its segments
_FLAGS = 5  # where they stand in the header
_BEGINS_STREAM = 0x02  # among the flags
_SEGMENT_COUNT = 26
_CODEC_NAME_BYTES = 8


@dataclass
class OggLink:
    """A link of a chain.

    Attributes:
        start: Its first byte.
        end: The byte after its last.
        codec: What its first stream begins with, such as `OpusHead`.
        num_streams: How many streams are interleaved in it: more than one where there is a video, too.
    """

    start: int
    end: int
    codec: bytes
    num_streams: int = 0


def find_links(data: Content, start: int) -> list[OggLink]:
    """Returns the links of an Ogg file, whose first page begins at `start`; none where no page is whole."""
    links: list[OggLink] = []
    streams_begin = False
    position = start
    while 0 <= position <= len(data) - _HEADER_BYTES:
        streams_began = streams_begin
        streams_begin = bool(data[position + _FLAGS] & _BEGINS_STREAM)
        # All streams of a link begin before any of them goes on.
        if not links or (streams_begin and not streams_began):
            links.append(OggLink(position, position, _codec_of_page(data, position)))
        links[-1].num_streams += streams_begin
        links[-1].end = _end_of_page(data, position)
        position = data.find(OGG_MAGIC, links[-1].end)
    return links


def _codec_of_page(data: Content, start: int) -> bytes:
    """Returns the first bytes of what the page at `start` holds."""
    content_start = _start_of_content(data, start)
    return data[content_start : content_start + _CODEC_NAME_BYTES]


def _end_of_page(data: Content, start: int) -> int:
    """Returns where the page at `start` ends: after its header, the lengths of its segments, and the segments."""
    content_start = _start_of_content(data, start)
    segment_bytes = data[start + _HEADER_BYTES : content_start]
    return min(content_start + sum(segment_bytes), len(data))


def _start_of_content(data: Content, start: int) -> int:
    """Returns where the segments of the page at `start` begin."""
    return start + _HEADER_BYTES + data[start + _SEGMENT_COUNT]
