"""The bytes of audio files to samples by libsndfile. Owns soundfile.

`asrscale.speech.parts` says which files it is given.
"""

import errno
import io
import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import numpy as np
import soundfile

from asrscale.common.c_stderr import silent_c_stderr
from asrscale.common.errors import AudioError
from asrscale.speech.blocks import (
    TRUNCATION_TOLERANCE_FRAMES,
    Block,
    Frames,
    Source,
    UnknownFormatError,
    check_rate,
    extension_of,
    truncated,
)
from asrscale.speech.flac_length import FLAC_MAGIC
from asrscale.speech.pcm import SAMPLE_RATE_HZ, Pcm

# So many are decoded at a time (22 s of 48 kHz), so that a header with a wrong length cannot make us allocate that.
BLOCK_FRAMES = 1 << 20

# Of all channels: a file may have 1,024 of them.
_BLOCK_SAMPLES = 8 * BLOCK_FRAMES

# libsndfile reads FLAC from memory in pieces of so many bytes.
_READ_AHEAD_BYTES = 8_192

# 30 s of a 16-bit wav. The bytes are copied, which takes long beside a segment of a long recording.
_MEMORY_FILE_BYTES = 1024 * 1024

# Where libsndfile looks for the resource fork of a file without a name that has no header, such as an mp3.
_FORKS = ("._", ".AppleDouble")

# Encoding and sample rate in Hz of files without a header, by their names: telephony, as libsndfile and sox take them
# (https://sox.sourceforge.net/soxformat.html). The first five libsndfile knows itself, but by a file's path only.
HEADERLESS = {
    ".vox": ("VOX_ADPCM", 8_000),
    ".vox8": ("VOX_ADPCM", 8_000),
    ".vox6": ("VOX_ADPCM", 6_000),
    ".gsm": ("GSM610", 8_000),
    **dict.fromkeys((".au", ".snd", ".ul", ".ulaw", ".mulaw", ".pcmu"), ("ULAW", 8_000)),
    **dict.fromkeys((".al", ".alaw", ".pcma"), ("ALAW", 8_000)),
}

_FORMATS_WITHOUT_RATE = ("XI",)  # of a music tracker: libsndfile says 44.1 kHz


@dataclass(frozen=True)
class ShortMp3:
    """What libsndfile finds in an mp3.

    Attributes:
        block: All of its samples.
        is_read_to_end: Whether there are no more bytes behind them. Else they may be of another recording, of tags, or
            of a frame that only completes those before it.
    """

    block: Block
    is_read_to_end: bool


def read_with_libsndfile(source: Source, start_seconds: float = 0.0, end_seconds: float = math.inf) -> Iterator[Block]:
    """Yields the blocks of a recording, up to `end_seconds`.

    Args:
        source: A recording that libsndfile can decode as a whole.
        start_seconds: What comes before may be left out, where the format can be entered in its middle.
        end_seconds: What comes after is left out; with infinity, the length is compared with that of the header.

    Raises:
        UnknownFormatError: libsndfile does not know the format.
        AudioError: `category: detail`; damaged, or truncated.
    """
    with _readable(source) as content, _opened(content, extension_of(source)) as file:
        rate_hz = int(file.samplerate)
        is_whole = end_seconds == math.inf
        end = int(file.frames) if is_whole else round(end_seconds * rate_hz)
        position = _seek_towards(file, round(start_seconds * rate_hz))
        block_frames = min(BLOCK_FRAMES, _BLOCK_SAMPLES // file.channels)
        while position < end:
            samples = _read(file, min(block_frames, end - position))
            if not len(samples):
                break
            yield Block(samples, rate_hz, position)
            position += len(samples)
        if is_whole and end - position > TRUNCATION_TOLERANCE_FRAMES:
            raise truncated(position, end)


def read_short_mp3(source: Source) -> ShortMp3 | None:
    """Returns all that libsndfile finds in an mp3, without a look at its frames beforehand.

    Returns:
        None where it finds more or fewer samples than it expects, or more than BLOCK_FRAMES.
    """
    try:
        with _readable(source) as content:
            samples, rate_hz = _read_short_mp3(content)
            is_read_to_end = not content.read(1)
    except (AudioError, OSError):
        return None
    return ShortMp3(Block(samples, rate_hz, 0), is_read_to_end) if len(samples) else None


def _read_short_mp3(content: io.BytesIO | io.FileIO) -> tuple[Frames, int]:
    """Returns the samples (T, C) of an mp3 and its rate in Hz; no samples where there are fewer or too many of them."""
    with _opened(content) as file:
        is_short_mp3 = file.format == "MP3" and file.frames <= BLOCK_FRAMES
        samples = _read(file, int(file.frames) if is_short_mp3 else 0)
        is_all = len(samples) == file.frames
        return samples if is_all else samples[:0], int(file.samplerate)


def read_stored_pcm16(data: bytes, max_frames: int) -> Pcm | None:
    """Returns the samples (T,) of a file that stores 16 bits at 16 kHz in one channel, without a detour over floats.

    Returns:
        None for any other file, where it is longer than `max_frames` by its header, and where it goes on behind the
        length that its header gives.

    Raises:
        UnknownFormatError: libsndfile does not know the format.
        AudioError: Damaged, truncated, or empty.
    """
    with _readable(io.BytesIO(data)) as content, _opened(content) as file:
        if (file.samplerate, file.channels, file.subtype) != (SAMPLE_RATE_HZ, 1, "PCM_16"):
            return None
        if file.frames > max_frames:
            return None
        file.seekable = lambda: False
        pcm: Pcm = np.empty(file.frames, np.int16)
        num_read = file.buffer_read_into(pcm, dtype="int16")
        is_read_to_end = content.tell() == len(data)
    # Another file behind the first may have been read ahead.
    is_joined = data.find(FLAC_MAGIC, max(1, len(data) - 2 * _READ_AHEAD_BYTES)) > 0
    if is_joined or not is_read_to_end:
        return None
    if num_read != file.frames or not num_read:
        raise truncated(num_read, file.frames)
    return pcm


def libsndfile_frames(source: Source) -> tuple[int, int]:
    """Returns how many samples a recording has by its header, and its sample rate in Hz; raises as decoding does."""
    with _readable(source) as content, _opened(content, extension_of(source)) as file:
        return int(file.frames), int(file.samplerate)


def can_be_entered(source: Source) -> bool:
    """Whether decoding may begin in the middle of a recording, so that its end costs no more than its beginning.

    Raises:
        UnknownFormatError: libsndfile does not know the format.
        AudioError: `category: detail`; damaged.
    """
    with _readable(source) as content, _opened(content, extension_of(source)) as file:
        return _can_be_entered(file)


def _read(file: soundfile.SoundFile, frames: int) -> Frames:
    """Reads so many samples (T, C) of a file that is not sought in any more."""
    # Otherwise soundfile seeks to the position it is at after each read: 3 % of an mp3's decoding.
    file.seekable = lambda: False
    samples: Frames = np.empty((frames, file.channels), np.float32)
    with silent_c_stderr():
        num_read = file.buffer_read_into(samples, dtype="float32")
    return samples[:num_read]


def _readable(source: Source) -> io.BytesIO | io.FileIO:
    """Returns a recording in the form that libsndfile reads it in; raises AudioError where there is no such file.

    A file is opened here: given its path, libsndfile would look for `._NAME` beside it, which may lead anywhere, and
    take what it does not know for half of a Sound Designer recording if that is there.
    """
    if not isinstance(source, io.BytesIO):
        try:
            return io.FileIO(source)
        except OSError as error:
            raise AudioError(f"unreadable: {error.strerror or error}") from error
    data = source.getvalue()
    if len(data) <= _MEMORY_FILE_BYTES or _is_among_forks():
        with suppress(AttributeError, OSError):
            return _memory_file(data)
    # Frames of an mp3 name no places, and mpg123 seeks so often that a `seek` in Python takes 3 % of its time.
    return io.BytesIO(data) if data[:1] == b"\xff" else _ForgivingBytes(data)


def _memory_file(data: bytes) -> io.FileIO:
    """Returns an unnamed file in memory, which libsndfile reads by itself.

    From an object of Python it would read by calling back, thirty times for three seconds of FLAC, and each time wait
    for the interpreter's lock: two threads took an eighth more time for FLAC, and four fifths more for mp3.

    Raises:
        OSError: There is no room for it: limits on files, such as `ulimit -f`, count for it too.
        AttributeError: Python was built for systems that have no such files.
    """
    with ExitStack() as closing:
        file = closing.enter_context(io.FileIO(os.memfd_create("recording"), "r+"))
        if file.write(data) < len(data):
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        file.seek(0)
        closing.pop_all()
    return file


@contextmanager
def _opened(content: io.BytesIO | io.FileIO, extension: str = "") -> Iterator[soundfile.SoundFile]:
    """Opens a recording; an error that libsndfile raises for it becomes an AudioError of one line.

    Args:
        content: Its bytes.
        extension: What its name ends in, by which it is known if it has no header.
    """
    try:
        with silent_c_stderr():  # mpg123 notes there what is wrong with an mp3
            file = _open_by_header_or_name(content, extension)
    except soundfile.LibsndfileError as error:
        raise UnknownFormatError(f"unreadable: {_one_line(error)}") from error
    try:
        with file:
            if file.subtype.startswith("MPEG") and file.format != "MP3":
                raise UnknownFormatError("unreadable: MPEG audio in another format, whose length libsndfile guesses")
            if file.format in _FORMATS_WITHOUT_RATE:
                raise AudioError(f"unreadable: {file.format_info} holds no sample rate: convert it to wav")
            check_rate(file.samplerate)
            yield file
    except soundfile.LibsndfileError as error:
        raise AudioError(f"unreadable: {_one_line(error)}") from error


def _open_by_header_or_name(content: io.BytesIO | io.FileIO, extension: str) -> soundfile.SoundFile:
    """Opens a recording by its header, or by its extension where it has none; raises LibsndfileError."""
    readable: io.BytesIO | int | str = content if isinstance(content, io.BytesIO) else content.fileno()
    if isinstance(readable, int) and _is_among_forks():
        readable = f"/proc/self/fd/{readable}"
    try:
        return soundfile.SoundFile(readable, closefd=False)
    except soundfile.LibsndfileError:
        if extension not in HEADERLESS:
            raise
    subtype, rate_hz = HEADERLESS[extension]
    content.seek(0)
    return soundfile.SoundFile(readable, format="RAW", subtype=subtype, samplerate=rate_hz, channels=1, closefd=False)


def _is_among_forks() -> bool:
    """Whether the folder that one stands in has what libsndfile takes for half of a recording without a name.

    An Apple file server makes such folders. By its place in /proc a file has a name, but then nobody knows how far
    libsndfile has read, so that more is read of the file to find its end.
    """
    return any(map(os.path.lexists, _FORKS))


def _one_line(error: Exception) -> str:
    """Returns an error's text, without the name of the file."""
    return " ".join((getattr(error, "error_string", "") or str(error)).split())


class _ForgivingBytes(io.BytesIO):
    """The bytes of a file, in which a place before the beginning, as damaged headers name it, is the beginning.

    An exception in what libsndfile calls back would be printed to standard error.
    """

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to a place as any file does, but to the beginning where it lies before that."""
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return super().seek(0)


def _seek_towards(file: soundfile.SoundFile, frame: int) -> int:
    """Seeks to a frame, or stays at the beginning where that would not be exact; returns the position.

    Frames of an mp3 after a seek may be decoded without the bits that frames before them keep for them, and are wrong.
    GSM and VOX cannot be entered at all.
    """
    if not frame or not _can_be_entered(file):
        return 0
    return int(file.seek(min(frame, file.frames)))


def _can_be_entered(file: soundfile.SoundFile) -> bool:
    """Whether decoding may begin in the middle of a file."""
    return bool(file.seekable()) and file.format != "MP3"
