"""Which decoder reads a recording, so that all of it is read: the length in a header is compared with the stream.

libsndfile is more than twice as fast as ffmpeg, and what it decodes is what shards have always held. But it stops where
it takes a recording to end: at a length in a header, at one that it guesses from the first frame of an mp3, or at the
end of the first of several recordings in one file. So it is given what it will read as a whole, and ffmpeg the rest.
docs/decisions/decoding.md has the measurements.
"""

import io
import math
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from asrscale.common.errors import AudioError
from asrscale.speech.blocks import (
    HEADERLESS_EXTENSIONS,
    TRUNCATION_TOLERANCE_FRAMES,
    Block,
    Source,
    UnknownFormatError,
    extension_of,
    truncated,
)
from asrscale.speech.chunks import MAGICS, SoundBytes, sound_bytes
from asrscale.speech.ffmpeg import ffmpeg_seconds, read_with_ffmpeg
from asrscale.speech.flac_length import FLAC_MAGIC, has_true_length
from asrscale.speech.libsndfile import (
    HEADERLESS,
    can_be_entered,
    libsndfile_frames,
    read_short_mp3,
    read_with_libsndfile,
)
from asrscale.speech.mp3_frames import Mp3Frames, find_frames, is_free_format
from asrscale.speech.ogg_links import OGG_MAGIC, OggLink, find_links
from asrscale.speech.tags import Content, end_of_tags

MAX_TAG_BYTES = 8_192  # what may follow the end of a recording

_READ_BYTES = 1 << 22  # files up to here are read, which is faster; larger ones are mapped into memory
_VOC_MAGIC = b"Crea"  # of "Creative Voice File": libsndfile takes the header of its last block for sound
_8SVX_FORM = b"8SVX"  # of Amiga's files: libsndfile takes the byte that evens their length for sound
_OGG_CODECS_OF_LIBSNDFILE = (b"\x01vorbis", b"OpusHead")
_MP3_EXTENSIONS = (".mp3", ".mp2", ".mp1")
_MAX_GAP_BYTES = 2 * 1_441  # among mp3 frames: two halves of frames, where recordings were cut and joined


@dataclass(frozen=True)
class Part:
    """A recording, or one of several that lie one behind the other in a file.

    Attributes:
        source: Its bytes, or the file that holds nothing else.
        needs_ffmpeg: libsndfile would not read all of it.
        sound: How long it is by its headers, in bytes; None where these do not say so.
    """

    source: Source
    needs_ffmpeg: bool = False
    sound: SoundBytes | None = None


def find_parts(source: Source) -> list[Part]:
    """Returns the parts of a recording in their order, at least one.

    Raises:
        AudioError: `category: detail`; it cannot be opened, or is an mp3 without sound or with holes.
    """
    with _opened(source) as data:
        start = end_of_tags(data, 0)
        if start == len(data):
            raise AudioError("unreadable: holds no sound, only tags" if start else "unreadable: an empty file")
        magic = data[start : start + 4]
        if magic == OGG_MAGIC:
            return _parts_of_ogg(source, data, find_links(data, start))
        if magic == FLAC_MAGIC:
            return [Part(source, needs_ffmpeg=not has_true_length(data, start))]
        if _may_be_mp3(source, data, magic):
            return [_part_of_mp3(source, data)]
        if magic == _VOC_MAGIC or data[start + 8 : start + 12] == _8SVX_FORM:
            return [Part(source, needs_ffmpeg=True)]
        sound = sound_bytes(data)
    # A recorder that was switched off leaves a length of zero.
    is_unfinished = sound is not None and sound.promised is None and _libsndfile_length(source) == 0
    return [Part(source, needs_ffmpeg=is_unfinished, sound=sound)]


def read_blocks(source: Source, start_seconds: float = 0.0, end_seconds: float = math.inf) -> Iterator[Block]:
    """Yields the blocks of a recording, one behind the other.

    Args:
        source: In any format that libsndfile or ffmpeg reads.
        start_seconds: What comes before may be left out.
        end_seconds: What comes after may be left out; with infinity, the length is compared with that of the headers.

    Raises:
        AudioError: `category: detail`; unreadable, truncated, or longer than its header says.
    """
    all_at_once = _read_ordinary_mp3(source) if end_seconds == math.inf else None
    if all_at_once is not None:
        yield all_at_once
        return
    parts = find_parts(source)
    if len(parts) == 1:
        yield from _read_part(parts[0], start_seconds, end_seconds)
        return
    end = 0
    for part in parts:
        start_of_part = end
        for block in _read_part(part, 0.0, math.inf):
            shifted = Block(block.samples, block.rate_hz, start_of_part + block.start)
            end = shifted.end
            yield shifted


def _read_ordinary_mp3(source: Source) -> Block | None:
    """Returns all of an mp3 that needs no further look, as most are; counting frames would be 4 % of a build's time."""
    mp3 = read_short_mp3(source) if _is_probably_mp3(source) else None
    if mp3 is None:
        return None
    # The frames of the few with bytes behind their sound are counted; to decode these again would take much longer.
    is_whole = mp3.is_read_to_end or find_parts(source) == [Part(source)]
    return mp3.block if is_whole else None


def _is_probably_mp3(source: Source) -> bool:
    """Whether to take a recording for an mp3: by its name, or by its first bytes where they are in memory."""
    extension = extension_of(source)
    if not isinstance(source, io.BytesIO):
        return extension in _MP3_EXTENSIONS
    data = source.getvalue()
    begins_as_mp3 = data[:3] == b"ID3" or data[:1] == b"\xff"
    return begins_as_mp3 and extension not in HEADERLESS_EXTENSIONS


def probe_seconds(source: Source) -> float:
    """Returns how long a recording is by its headers, or decodes it where they do not say so.

    Raises:
        AudioError: It cannot be opened.
    """
    return sum(_seconds_of_part(part) for part in find_parts(source))


def is_entered_quickly(source: Source) -> bool:
    """Whether the end of a recording is decoded as quickly as its beginning.

    Raises:
        AudioError: It cannot be opened.
    """
    parts = find_parts(source)
    if len(parts) > 1 or parts[0].needs_ffmpeg:
        return False
    try:
        return can_be_entered(source)
    except UnknownFormatError:  # ffmpeg may know it
        return False


@contextmanager
def _opened(source: Source) -> Iterator[Content]:
    """Opens the bytes of a recording, which are not all read where they are many."""
    if isinstance(source, io.BytesIO):
        yield source.getvalue()
        return
    try:
        with open(source, "rb", buffering=0) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            if size_bytes <= _READ_BYTES:
                yield file.read()
                return
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                yield content
    except OSError as error:
        raise AudioError(f"unreadable: {error.strerror or error}") from error


def _read_part(part: Part, start_seconds: float, end_seconds: float) -> Iterator[Block]:
    """Yields the blocks of a part."""
    end = 0
    for block in _decode_part(part, start_seconds, end_seconds):
        end = block.end
        yield block
    if part.sound and end_seconds == math.inf:
        _check_length(part.sound, end)


def _decode_part(part: Part, start_seconds: float, end_seconds: float) -> Iterator[Block]:
    """Yields the blocks of a part; what libsndfile does not know is left to ffmpeg."""
    if part.needs_ffmpeg:
        yield from read_with_ffmpeg(part.source, end_seconds)
        return
    try:
        yield from read_with_libsndfile(part.source, start_seconds, end_seconds)
    except UnknownFormatError:
        yield from read_with_ffmpeg(part.source, end_seconds)


def _check_length(sound: SoundBytes, frames: int) -> None:
    """Raises AudioError where a recording, of which `frames` were decoded, is not as long as its headers say."""
    if sound.promised and sound.found:
        promised_frames = round(frames * sound.promised / sound.found)
        if promised_frames - frames > TRUNCATION_TOLERANCE_FRAMES:
            raise truncated(frames, promised_frames)
    if sound.promised is not None and sound.surplus > MAX_TAG_BYTES:
        raise AudioError(f"longer than its header says: it goes on for {sound.surplus:,} bytes")


def _seconds_of_part(part: Part) -> float:
    """Returns how long a part is."""
    if not part.needs_ffmpeg:
        try:
            frames, rate_hz = libsndfile_frames(part.source)
            return frames / rate_hz
        except UnknownFormatError:
            pass  # ffmpeg may know it
    return ffmpeg_seconds(part.source)


def _parts_of_ogg(source: Source, data: Content, links: list[OggLink]) -> list[Part]:
    """Returns a part for each link of an Ogg file, as libsndfile stops after the first."""
    parts = []
    for link in links:
        is_all = len(links) == 1
        content = source if is_all else io.BytesIO(data[link.start : link.end])
        is_known = link.num_streams == 1 and link.codec.startswith(_OGG_CODECS_OF_LIBSNDFILE)
        parts.append(Part(content, needs_ffmpeg=not is_known))
    return parts or [Part(source)]


def _may_be_mp3(source: Source, data: Content, magic: bytes) -> bool:
    """Whether libsndfile would take a file for an mp3: by its first bytes or its name."""
    extension = extension_of(source)
    if extension in HEADERLESS_EXTENSIONS or magic in MAGICS:  # without a header, the first bytes are sound
        return False
    begins_frame = len(magic) == 4 and magic[0] == 0xFF and magic[1] >= 0xE0
    return begins_frame or data[:3] == b"ID3" or extension in _MP3_EXTENSIONS


def _part_of_mp3(source: Source, data: Content) -> Part:
    """Returns an mp3 without its tags, which both decoders may take for frames.

    Raises:
        AudioError: `category: detail`; it is truncated, or its sound has holes.
    """
    frames = find_frames(data)
    if not frames.spans:
        is_headerless = extension_of(source) in HEADERLESS
        return Part(source, needs_ffmpeg=not is_headerless and not is_free_format(data))
    _check_frames(frames)
    [first, *others] = frames.spans
    is_all = first == slice(0, len(data))
    content = source if is_all else io.BytesIO(b"".join(data[span] for span in frames.spans))
    if others or not frames.is_one_encoding:
        return Part(content, needs_ffmpeg=True)
    return Part(content, needs_ffmpeg=not _reads_all(frames, content))


def _reads_all(frames: Mp3Frames, content: Source) -> bool:
    """Whether libsndfile reads all frames of an mp3."""
    if frames.announced_frames is not None:
        return frames.num_frames <= frames.announced_frames
    surplus = _libsndfile_length(content) - frames.num_samples
    return 0 <= surplus <= TRUNCATION_TOLERANCE_FRAMES


def _libsndfile_length(source: Source) -> int:
    """Returns how many samples libsndfile takes a recording to have; 0 where it does not know its format."""
    try:
        frames, _ = libsndfile_frames(source)
    except UnknownFormatError:
        return 0
    return frames


def _check_frames(frames: Mp3Frames) -> None:
    """Raises AudioError where an mp3 lacks frames that it announces, or has more than a cut frame in their place."""
    announced_samples = (frames.announced_frames or 0) * frames.samples_per_frame
    if announced_samples - frames.num_samples > TRUNCATION_TOLERANCE_FRAMES:
        raise truncated(frames.num_samples, announced_samples)
    if frames.longest_gap_bytes > _MAX_GAP_BYTES:
        raise AudioError(f"unreadable: damaged: {frames.longest_gap_bytes:,} bytes among its mp3 frames are none")
    if frames.surplus_bytes > MAX_TAG_BYTES:
        raise AudioError(f"unreadable: damaged: the {frames.surplus_bytes:,} bytes behind its mp3 frames are none")
