"""The bytes of audio files to samples by ffmpeg's libraries, which PyAV brings along. Owns av.

`asrscale.speech.parts` says which files it is given; docs/decisions/decoding.md says why not all.

Shape legend: T samples, C channels.
"""

import ctypes
import io
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import av
import numpy as np

from asrscale.common.errors import AudioError
from asrscale.speech.blocks import (
    TRUNCATION_TOLERANCE_FRAMES,
    Block,
    Frames,
    Source,
    check_rate,
    extension_of,
    truncated,
)

# The formats whose header says how long the sound is; for others ffmpeg guesses it from size and bit rate.
_MATROSKA = "matroska,webm"
_FORMATS_WITH_LENGTH = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "wv", "tta", "ape", "flac"})

# What the names of samples without a header end in, whose rate nothing says: ffmpeg would take 44.1 kHz.
_SAMPLES_EXTENSIONS = (".raw", ".pcm")
_SAMPLES_ONLY = "unreadable: samples without a header, and nothing says their encoding and rate: convert it to wav"
_SAMPLES_FORMAT = "PCM "  # how ffmpeg's names for such formats begin

# Those whose frames have checksums, so that a wrong one is an error.
_CHECKED_CODECS = frozenset({"flac", "wavpack", "tta", "ape"})

# A stream that was cut out of a longer one may begin and end with so many packets that lack their other half.
_MAX_CUT_PACKETS = 2

# ffmpeg's own decoders of AMR do not know the frames that stand for silence, where a phone transmits nothing; for a
# recording that has some: the decoder that does, how many types of frames are speech, and which are silence or nothing
# (3GPP TS 26.101, table 1a; TS 26.201, table 1a). Others are in no recording, and damage.
_DECODERS_OF_SILENCE = {
    "amrnb": ("libopencore_amrnb", range(8), frozenset({8, 15})),
    "amrwb": ("libopencore_amrwb", range(9), frozenset({9, 14, 15})),
}

# The largest table of a recording, that of the packets of a day of AAC in an mp4, has 100 MB; titles and covers are
# smaller.
_MAX_ALLOCATION_BYTES = 128 * 1024**2

# In an OpusHead, how many samples at 48 kHz come before the sound (RFC 7845, section 5.1).
_PRESKIP = slice(10, 12)


def read_with_ffmpeg(source: Source, end_seconds: float = math.inf) -> Iterator[Block]:
    """Yields the blocks of a recording, at least up to `end_seconds`.

    Args:
        source: Any file with sound in it; of several tracks the one that ffmpeg would play.
        end_seconds: With infinity, the length is compared with that of the header.

    Raises:
        AudioError: `category: detail`; of no format that ffmpeg knows, without sound, damaged, or truncated.
    """
    with _opened(source) as (container, stream):
        rate_hz = 0
        end = 0
        for samples, rate_hz in _decode(container, stream):
            check_rate(rate_hz)
            yield Block(samples, rate_hz, end)
            end += len(samples)
            if end >= end_seconds * rate_hz:
                return
        promised_seconds = _promised_seconds(container, stream) or 0.0
        if promised_seconds and not end:
            raise AudioError(f"truncated: nothing of its {promised_seconds:.2f} s could be decoded")
        promised = round(promised_seconds * rate_hz)
        if promised - end > TRUNCATION_TOLERANCE_FRAMES:
            raise truncated(end, promised)


def ffmpeg_seconds(source: Source) -> float:
    """Returns how long a recording is by its header; decodes it where that does not say so, and raises as that does."""
    with _opened(source) as (container, stream):
        promised_seconds = _promised_seconds(container, stream)
        if promised_seconds is not None and container.format.name != "flac":  # of FLAC, only those with a wrong length
            return promised_seconds
        return sum(len(samples) / rate_hz for samples, rate_hz in _decode(container, stream))


@contextmanager
def _opened(source: Source) -> Iterator[tuple[av.container.InputContainer, av.AudioStream]]:
    """Opens a recording and its sound, but nothing that it names, as playlists do."""
    _bound_allocations()
    options = {"protocol_whitelist": "none", "codec_whitelist": _audio_codecs()}
    extension = extension_of(source)
    with _open_bytes(source) as content:
        try:
            container = av.open(content, "r", options=options, metadata_errors="replace")
        except (av.FFmpegError, ValueError, OSError) as error:
            why = f"unreadable: ffmpeg says: {_one_line(error)}"
            raise AudioError(_SAMPLES_ONLY if extension in _SAMPLES_EXTENSIONS else why) from error
        with container:
            if container.format.long_name.startswith(_SAMPLES_FORMAT) or extension in _SAMPLES_EXTENSIONS:
                raise AudioError(_SAMPLES_ONLY)
            stream = container.streams.best("audio")
            if not isinstance(stream, av.AudioStream) or stream.codec_context is None:
                raise AudioError(
                    f"unreadable: ffmpeg finds no sound in it that it can decode ({container.format.long_name})"
                )
            if stream.codec_context.name in _CHECKED_CODECS:
                stream.codec_context.options = {"err_detect": "crccheck+explode"}
            yield container, stream


@contextmanager
def _open_bytes(source: Source) -> Iterator["_Content"]:
    """Opens a recording's bytes; the name of its file may say its format."""
    with io.BytesIO(source.getvalue()) if isinstance(source, io.BytesIO) else io.FileIO(source) as file:
        yield _Content(file, name=f"recording{extension_of(source)}")


class _Content:
    """The bytes of a file, in which ffmpeg may seek places that do not exist, as damaged headers name them."""

    def __init__(self, file: io.BytesIO | io.FileIO, name: str) -> None:
        self._file = file
        self.name = name
        self.read = file.read
        self.tell = file.tell

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to a place, and returns -1 where there is none: PyAV would print an exception, and ffmpeg try again."""
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return -1


@lru_cache
def _bound_allocations() -> None:
    """Keeps ffmpeg from taking more memory at once than any recording needs: by default it is 2 GiB.

    PyAV has no such setting; it is a function of libavutil, which PyAV has loaded. Of several of these (torchcodec
    brings its own), that of PyAV's wheel is in its folder av.libs.
    """
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        libraries = {line.split(maxsplit=5)[5].rstrip("\n") for line in maps if "/libavutil" in line}
    own = {path for path in libraries if "/av.libs/" in path} or libraries
    for path in own:
        ctypes.CDLL(path).av_max_alloc(ctypes.c_size_t(_MAX_ALLOCATION_BYTES))


@lru_cache
def _audio_codecs() -> str:
    """Returns the decoders that may run: not those of videos, a frame of which can fill the memory."""
    codecs = []
    for name in av.codecs_available:
        try:
            is_audio = av.Codec(name, "r").type == "audio"
        except av.codec.codec.UnknownCodecError:  # one that only encodes
            continue
        if is_audio:
            codecs.append(name)
    return ",".join(codecs)


def _decode(container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[tuple[Frames, int]]:
    """Yields samples (T, C) and their rate in Hz.

    Raises:
        AudioError: Sound is missing, more than a cut at either end explains.
    """
    seconds = 0.0
    failed_packets = 0
    surplus: int | None = None
    decoder, packets = _decoder_and_packets(container, stream)
    for packet in packets:
        if surplus is None:
            surplus = _samples_before_sound(packet, stream)
        try:
            frames = decoder.decode(packet)
        except av.FFmpegError as error:
            failed_packets += 1
            if failed_packets > _MAX_CUT_PACKETS:
                raise _damaged(seconds, error) from error
            continue
        for frame in frames:
            if failed_packets and seconds:
                raise _damaged(seconds, None)
            samples = _samples_of(frame)
            seconds += len(samples) / frame.sample_rate
            yield samples[surplus:], frame.sample_rate
            surplus = max(0, surplus - len(samples))


def _decoder_and_packets(
    container: av.container.InputContainer, stream: av.AudioStream
) -> tuple[av.AudioCodecContext, "Iterable[av.Packet[av.AudioStream]]"]:
    """Returns what decodes a stream, and its packets."""
    if stream.codec_context.name not in _DECODERS_OF_SILENCE:
        return stream.codec_context, _packets(container, stream)
    name, speech, silence = _DECODERS_OF_SILENCE[stream.codec_context.name]
    packets = list(_packets(container, stream))  # six megabytes an hour
    types = {_amr_frame_type(packet) for packet in packets}
    if not types & silence or not types <= {*speech, *silence}:
        return stream.codec_context, packets
    decoder = av.CodecContext.create(name, "r")
    assert isinstance(decoder, av.AudioCodecContext)
    return decoder, packets


def _amr_frame_type(packet: "av.Packet[av.AudioStream]") -> int:
    """Returns the frame type of a packet of AMR, which its first byte has behind a bit of padding."""
    return bytes(packet)[0] >> 3 & 15 if packet.size else 0


def _packets(container: av.container.InputContainer, stream: av.AudioStream) -> Iterator["av.Packet[av.AudioStream]"]:
    """Yields the packets of a stream."""
    try:
        yield from container.demux(stream)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise AudioError(f"unreadable: damaged: {_one_line(error)}") from error


def _damaged(seconds: float, error: Exception | None) -> AudioError:
    """Returns the error for a recording that cannot be decoded in its middle."""
    why = f": {_one_line(error)}" if error else ""
    return AudioError(f"unreadable: damaged {seconds:.2f} s after its beginning{why}")


def _samples_before_sound(packet: "av.Packet[av.AudioStream]", stream: av.AudioStream) -> int:
    """Returns how many samples of the encoder's delay, which come before the sound, ffmpeg leaves in.

    ffmpeg 8 takes those of Opus in Matroska for samples of the recording's own rate.
    """
    header = stream.codec_context.extradata
    if stream.codec_context.name != "opus" or not header or not packet.has_sidedata("skip_samples"):
        return 0
    skipped = int.from_bytes(bytes(packet.get_sidedata("skip_samples"))[:4], "little")
    return max(0, int.from_bytes(header[_PRESKIP], "little") - skipped)


def _samples_of(frame: av.AudioFrame) -> Frames:
    """Returns the samples (T, C) of a frame as float32 in about [-1, 1]."""
    values = frame.to_ndarray()
    channels = values.T if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)
    if np.issubdtype(channels.dtype, np.floating):
        return channels.astype(np.float32)
    full_scale = 2.0 ** (8 * channels.itemsize - 1)
    middle = full_scale if channels.dtype == np.uint8 else 0.0
    return ((channels - middle) / full_scale).astype(np.float32)


def _promised_seconds(container: av.container.InputContainer, stream: av.AudioStream) -> float | None:
    """Returns how long a recording is by its header, or None where that does not say so."""
    if container.format.name == _MATROSKA and len(container.streams) == 1 and container.duration:
        return container.duration / av.time_base  # of the longest track, where there are several
    if container.format.name not in _FORMATS_WITH_LENGTH or not stream.duration or not stream.time_base:
        return None
    return float(stream.duration * stream.time_base)


def _one_line(error: Exception) -> str:
    """Returns an error's text, without the name of the file."""
    return " ".join((getattr(error, "strerror", "") or str(error)).split())
