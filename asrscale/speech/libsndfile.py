"""The bytes of audio files to samples by libsndfile. Owns soundfile.

`asrscale.speech.parts` says which files it is given.
"""

import io
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager

import soundfile

from asrscale.common.c_stderr import silent_c_stderr
from asrscale.common.errors import AudioError
from asrscale.speech.blocks import TRUNCATION_TOLERANCE_FRAMES, Block, Source, UnknownFormatError, check_rate, truncated
from asrscale.speech.flac_length import FLAC_MAGIC
from asrscale.speech.pcm import SAMPLE_RATE_HZ, Pcm

# So many are decoded at a time (22 s of 48 kHz), so that a header with a wrong length cannot make us allocate that.
BLOCK_FRAMES = 1 << 20

# libsndfile reads FLAC from memory in pieces of so many bytes.
_READ_AHEAD_BYTES = 8_192

_MAX_STORED_FRAMES = 86_400 * SAMPLE_RATE_HZ  # of a day: those that a build admits are far shorter


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
    with _opened(source) as file:
        rate_hz = int(file.samplerate)
        is_whole = end_seconds == math.inf
        end = int(file.frames) if is_whole else round(end_seconds * rate_hz)
        position = _seek_towards(file, round(start_seconds * rate_hz))
        # Otherwise soundfile seeks to the position it is at after each read: 3 % of an mp3's decoding.
        file.seekable = lambda: False
        while position < end:
            with silent_c_stderr():  # mpg123 notes there what is wrong with a frame
                samples = file.read(min(BLOCK_FRAMES, end - position), dtype="float32", always_2d=True)
            if not len(samples):
                break
            yield Block(samples, rate_hz, position)
            position += len(samples)
        if is_whole and end - position > TRUNCATION_TOLERANCE_FRAMES:
            raise truncated(position, end)


def read_stored_pcm16(data: bytes) -> Pcm | None:
    """Returns the samples (T,) of a file that stores 16 bits at 16 kHz in one channel, without a detour over floats.

    Returns:
        None for any other file, and where it goes on behind the length that its header gives.

    Raises:
        UnknownFormatError: libsndfile does not know the format.
        AudioError: Damaged, truncated, or empty.
    """
    buffer = io.BytesIO(data)
    with _opened(buffer) as file:
        if (file.samplerate, file.channels, file.subtype) != (SAMPLE_RATE_HZ, 1, "PCM_16"):
            return None
        if file.frames > _MAX_STORED_FRAMES:
            return None
        pcm: Pcm = file.read(file.frames, dtype="int16")
        is_read_to_end = buffer.tell() == len(data)
    if not is_read_to_end or FLAC_MAGIC in data[1:][-2 * _READ_AHEAD_BYTES :]:
        return None
    if len(pcm) != file.frames or not len(pcm):
        raise truncated(len(pcm), file.frames)
    return pcm


def libsndfile_frames(source: Source) -> tuple[int, int]:
    """Returns how many samples a recording has by its header, and its sample rate in Hz; raises as decoding does."""
    with _opened(source) as file:
        return int(file.frames), int(file.samplerate)


@contextmanager
def _opened(source: Source) -> Iterator[soundfile.SoundFile]:
    """Opens a recording; an error that libsndfile or soundfile raises for it becomes an AudioError of one line."""
    readable = _ForgivingBytes(source.getvalue()) if isinstance(source, io.BytesIO) else source
    try:
        with silent_c_stderr():
            file = soundfile.SoundFile(readable)
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: soundfile takes *.raw for headerless audio
        raise UnknownFormatError(f"unreadable: {_one_line(error)}") from error
    try:
        with file:
            if file.subtype.startswith("MPEG") and file.format != "MP3":
                raise UnknownFormatError("unreadable: MPEG audio in another format, whose length libsndfile guesses")
            check_rate(file.samplerate)
            yield file
    except soundfile.LibsndfileError as error:
        raise AudioError(f"unreadable: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    """Returns an error's text, without the name of the file."""
    return " ".join((getattr(error, "error_string", "") or str(error)).split())


class _ForgivingBytes(io.BytesIO):
    """The bytes of a file, in which a place before the beginning, as damaged headers name it, is the beginning.

    An exception in what libsndfile calls back would be printed to standard error.
    """

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to a place as any file does, but to the beginning where it lies before that."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self.tell(), os.SEEK_END: self.getbuffer().nbytes}[whence]
        return super().seek(max(0, base + offset))


def _seek_towards(file: soundfile.SoundFile, frame: int) -> int:
    """Seeks to a frame, or stays at the beginning where that would not be exact; returns the position.

    Frames of an mp3 after a seek may be decoded without the bits that frames before them keep for them, and are wrong.
    GSM and VOX cannot be entered at all.
    """
    if not frame or file.format == "MP3" or not file.seekable():
        return 0
    return int(file.seek(min(frame, file.frames)))
