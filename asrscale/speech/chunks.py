"""How long the sound of an uncompressed recording is by its headers: of wav, RF64, W64, aiff, caf and au files.

Sources: Microsoft and IBM's "Multimedia Programming Interface and Data Specifications 1.0" (RIFF), EBU Tech 3306
(RF64), Sony's "Wave64 File Format", Apple's "Audio Interchange File Format" and "Core Audio Format Specification", and
Sun's audio(7) (au).
"""

from dataclasses import dataclass
from typing import Literal

from asrscale.speech.tags import Content, end_of_tags

STREAMED_BYTES = 0x7FFF_0000  # programs that write to a pipe leave a placeholder above this for the length of the sound


@dataclass(frozen=True)
class _Layout:
    """How a format's chunks are laid out; a chunk is its name, its size and its content.

    Attributes:
        data: What the name of the chunk with the samples begins with.
        byte_order: Of sizes.
        name_bytes: Length of a name.
        size_bytes: Length of a size.
        first_chunk: Where the first chunk begins.
        counts_header: Whether a size includes name and size.
        alignment: Chunks begin at multiples of so many bytes.
    """

    data: bytes
    byte_order: Literal["little", "big"]
    name_bytes: int = 4
    size_bytes: int = 4
    first_chunk: int = 12
    counts_header: bool = False
    alignment: int = 2


_LAYOUTS = {
    b"RIFF": _Layout(b"data", "little"),
    b"RF64": _Layout(b"data", "little"),
    b"RIFX": _Layout(b"data", "big"),
    b"FORM": _Layout(b"SSND", "big"),
    b"caff": _Layout(b"data", "big", size_bytes=8, first_chunk=8, alignment=1),
    b"riff": _Layout(b"data", "little", 16, 8, first_chunk=40, counts_header=True, alignment=8),
}
_AU_BYTE_ORDERS: dict[bytes, Literal["little", "big"]] = {b".snd": "big", b"dns.": "little"}
_AU_HEADER_BYTES = 12

MAGICS = frozenset((*_LAYOUTS, *_AU_BYTE_ORDERS))  # what the files of these formats begin with


@dataclass(frozen=True)
class SoundBytes:
    """The sound of a file in bytes.

    Attributes:
        promised: How many there are by the header; None where that was written before they were counted.
        found: How many there are of those.
        surplus: How many follow that are neither promised nor a chunk or tag of their own.
    """

    promised: int | None
    found: int
    surplus: int


def sound_bytes(data: Content) -> SoundBytes | None:
    """Returns how long the sound of a file is by its headers; None where it has another format, or no sound."""
    magic = data[:4]
    if magic in _AU_BYTE_ORDERS and len(data) >= _AU_HEADER_BYTES:
        start = int.from_bytes(data[4:8], _AU_BYTE_ORDERS[magic])
        promised = int.from_bytes(data[8:12], _AU_BYTE_ORDERS[magic])
        return _compare(data, start, promised, surplus_start=start + promised)
    if magic in _LAYOUTS:
        return _sound_of_chunks(data, _LAYOUTS[magic])
    return None


def _sound_of_chunks(data: Content, layout: _Layout) -> SoundBytes | None:
    """Returns the sound of a file that consists of chunks."""
    position = layout.first_chunk
    is_rf64 = data[:4] == b"RF64"
    size_in_ds64 = 0
    while name := data[position : position + 4]:
        start, size = _content_of_chunk(data, position, layout)
        if name == b"ds64":
            size_in_ds64 = int.from_bytes(data[start + 8 : start + 16], "little")
        if name == layout.data:
            promised = size_in_ds64 if is_rf64 else size
            behind = _align(start + promised, layout)
            return _compare(data, start, promised, surplus_start=_end_of_chunks(data, behind, layout))
        position = _align(start + size, layout)
    return None


def _content_of_chunk(data: Content, position: int, layout: _Layout) -> tuple[int, int]:
    """Returns where the content of the chunk at `position` begins, and how long it is by its header."""
    size_start = position + layout.name_bytes
    start = size_start + layout.size_bytes
    size = int.from_bytes(data[size_start:start], layout.byte_order)
    return start, max(0, size - (start - position)) if layout.counts_header else size


def _align(position: int, layout: _Layout) -> int:
    """Returns where the next chunk may begin."""
    return position + -position % layout.alignment


def _end_of_chunks(data: Content, start: int, layout: _Layout) -> int:
    """Returns where the chunks end that begin at `start`; what has no name of letters is none."""
    position = start
    while _is_name(data[position : position + 4]):
        content_start, size = _content_of_chunk(data, position, layout)
        position = _align(content_start + size, layout)
    return position


def _is_name(name: bytes) -> bool:
    return len(name) == 4 and name.isascii() and name.decode("ascii").isprintable()


def _compare(data: Content, start: int, promised: int, surplus_start: int) -> SoundBytes:
    """Returns the sound that begins at `start`."""
    found = max(0, min(promised, len(data) - start))
    surplus = max(0, len(data) - end_of_tags(data, surplus_start))
    # Programs that write to a pipe leave a placeholder: zero, or nearly the largest number.
    is_placeholder = promised > STREAMED_BYTES and start + promised > len(data)
    is_unknown = is_placeholder or (not promised and surplus > 0)
    return SoundBytes(promised=None if is_unknown else promised, found=found, surplus=surplus)
