"""The frames of an mp3, found by their headers: how much sound there is, whatever the file says about itself.

Source of the layouts: ISO/IEC 11172-3, section 2.4.1.3, and 13818-3; MPEG 2.5 halves the sample rates of MPEG-2.
Layers I and II have the same header and are found, too.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

from asrscale.speech.tags import Content, end_of_tags, start_of_last_tags

_KILOBITS = {  # a second, by whether it is MPEG 1 and by layer, for the codes from 1 to 14
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = (44_100, 48_000, 32_000)  # of MPEG 1, by code
_MPEG1 = 3
_RATE_DIVISORS = {_MPEG1: 1, 2: 2, 0: 4}  # by the code of the version: MPEG 1, 2, 2.5

# The first three bytes of a header: 11 bits of one, version, layer, and a third byte with a bit rate and sample rate.
_SECOND_BYTES = bytes(byte for byte in range(0xE0, 0x100) if byte >> 3 & 3 != 1 and byte >> 1 & 3 != 0)
_THIRD_BYTES = bytes(byte for byte in range(0x100) if 0 < byte >> 4 < 15 and byte >> 2 & 3 != 3)
_HEADER = re.compile(b"\xff[" + re.escape(_SECOND_BYTES) + b"][" + re.escape(_THIRD_BYTES) + b"]")
_HEADER_BYTES = 4
_SINGLE_CHANNEL = 0xC0  # from here on, the fourth byte of a header stands for one channel

# So many frames in a row are frames, and no bytes that look like one.
_FRAMES_TO_TRUST = 3

# Where an encoder may put its notes about the whole file: into a first frame that holds no sound.
_NOTES = (b"Xing", b"Info", b"VBRI")
_MAX_NOTES_BYTES = 64  # header, checksum and side information before the name

# Those notes: flags, one of which (1) says that the frames are counted, and their count.
_XING = re.compile(rb"(?:Xing|Info)\0\0\0[\x01\x03\x05\x07\x09\x0b\x0d\x0f](.{4})", re.DOTALL)


@dataclass(frozen=True)
class Mp3Frames:
    """Where the frames of an mp3 lie.

    Attributes:
        spans: From byte to byte, runs of frames with something else between them; none where there are no frames.
        num_frames: How many there are; one that only holds the encoder's notes is not counted.
        samples_per_frame: Of the first of them.
        announced_frames: How many there are by the encoder's notes; None where these do not say.
        is_one_encoding: Whether all frames have the version, rate and number of channels of the first.
        longest_gap_bytes: The most bytes in a row before or between frames that are neither frames nor tags.
        surplus_bytes: The same, behind the last frame.
    """

    spans: tuple[slice, ...]
    num_frames: int
    samples_per_frame: int
    announced_frames: int | None
    is_one_encoding: bool
    longest_gap_bytes: int
    surplus_bytes: int

    @property
    def num_samples(self) -> int:
        """How many samples the frames decode to."""
        return self.num_frames * self.samples_per_frame


@dataclass(frozen=True)
class _Kind:
    """What all frames of an encoding have in common.

    Attributes:
        frame_bytes: How long a frame is, by the first three bytes of its header.
        samples_per_frame: How many samples it decodes to.
        is_mono: Whether it has one channel.
    """

    frame_bytes: Mapping[bytes, int]
    samples_per_frame: int
    is_mono: bool


@dataclass(frozen=True)
class _Run:
    """Frames one behind the other, from byte `start` to byte `end`; what comes before the gap ends at `gap_start`."""

    gap_start: int
    start: int
    end: int
    num_frames: int
    kind: _Kind


_NO_KIND = _Kind({}, 0, is_mono=False)


def find_frames(data: Content) -> Mp3Frames:
    """Returns where the frames of an mp3 lie, tags and whatever else there is left out."""
    runs = list(_runs_of_frames(data))
    if not runs:
        return Mp3Frames((), 0, 0, None, is_one_encoding=True, longest_gap_bytes=0, surplus_bytes=0)

    first_run = runs[0]
    first_frame = data[first_run.start : first_run.start + _MAX_NOTES_BYTES]
    has_notes = any(name in first_frame for name in _NOTES)
    announced = _XING.search(first_frame)
    return Mp3Frames(
        spans=tuple(slice(run.start, run.end) for run in runs),
        num_frames=sum(run.num_frames for run in runs) - has_notes,
        samples_per_frame=first_run.kind.samples_per_frame,
        announced_frames=int.from_bytes(announced[1]) if announced else None,
        is_one_encoding=all(run.kind == first_run.kind for run in runs),
        longest_gap_bytes=max(run.start - run.gap_start for run in runs),
        surplus_bytes=max(0, start_of_last_tags(data) - end_of_tags(data, runs[-1].end)),
    )


def is_free_format(data: Content) -> bool:
    """Whether the first frame of an mp3 does not say how long it is."""
    start = end_of_tags(data, 0)
    header = data[start : start + _HEADER_BYTES]
    return len(header) == _HEADER_BYTES and header[0] == 0xFF and header[1] in _SECOND_BYTES and header[2] < 0x10


def _runs_of_frames(data: Content) -> Iterator[_Run]:
    """Yields the runs of frames; what may only look like one, as a picture's bytes do, is left out."""
    gap_start = end_of_tags(data, 0)
    position = gap_start
    while position < len(data):
        run = _run_at(data, position, gap_start)
        after_run = end_of_tags(data, run.end)
        if run.num_frames >= _FRAMES_TO_TRUST or (run.num_frames and after_run == len(data)):
            yield run
            gap_start = position = after_run
        else:
            candidate = _HEADER.search(data, position + 1)
            position = candidate.start() if candidate else len(data)


def _run_at(data: Content, start: int, gap_start: int) -> _Run:
    """Returns the run of whole frames of one kind that begins at `start`, which may have none."""
    kind = _kind_of(data[start : start + _HEADER_BYTES])
    frame_bytes = kind.frame_bytes
    is_mono = kind.is_mono
    position = start
    length = 0
    num_frames = 0
    # This loop is what counting costs: an error is the cheapest way out of it.
    with suppress(KeyError, IndexError):
        while (data[position + 3] >= _SINGLE_CHANNEL) == is_mono:
            length = frame_bytes[data[position : position + 3]]
            position += length
            num_frames += 1
    if position > len(data):  # the last frame is not whole
        position -= length
        num_frames -= 1
    return _Run(gap_start, start, position, num_frames, kind)


def _kind_of(header: bytes) -> _Kind:
    """Returns the kind of a frame; that of no frame where its header is none."""
    if not _HEADER.match(header) or len(header) < _HEADER_BYTES:
        return _NO_KIND
    version_and_layer = header[1] & 0x1E
    rate_code = header[2] >> 2 & 3
    return _make_kind(version_and_layer, rate_code, is_mono=header[3] >= _SINGLE_CHANNEL)


@lru_cache
def _make_kind(version_and_layer: int, rate_code: int, *, is_mono: bool) -> _Kind:
    """Returns a kind by the bits of a header."""
    version_code = version_and_layer >> 3
    is_mpeg1 = version_code == _MPEG1
    layer = 4 - (version_and_layer >> 1 & 3)
    rate_hz = _RATES_HZ[rate_code] // _RATE_DIVISORS[version_code]
    samples = 384 if layer == 1 else 576 if layer == 3 and not is_mpeg1 else 1_152
    slot_bytes = 4 if layer == 1 else 1

    frame_bytes = {}
    for bit_rate_code, kilobits in enumerate(_KILOBITS[is_mpeg1, layer], start=1):
        for has_padding in (0, 1):
            slots = samples * kilobits * 1_000 // (8 * slot_bytes * rate_hz) + has_padding
            for without_checksum in (0, 1):
                second = 0xE0 | version_and_layer | without_checksum
                for private in (0, 1):
                    third = bit_rate_code << 4 | rate_code << 2 | has_padding << 1 | private
                    frame_bytes[bytes((0xFF, second, third))] = slots * slot_bytes
    return _Kind(frame_bytes, samples, is_mono)
