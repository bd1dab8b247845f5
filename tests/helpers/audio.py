"""Recordings made on the spot."""

import io

import av
import numpy as np
import soundfile


def sine(frequency_hz: float, rate_hz: int, seconds: float = 1.0, level: float = 0.5) -> np.ndarray:
    """A tone, float32 (T,)."""
    time_seconds = np.arange(int(seconds * rate_hz)) / rate_hz
    return (level * np.sin(2 * np.pi * frequency_hz * time_seconds)).astype(np.float32)


def encoded(waveform: np.ndarray, rate_hz: int, format: str) -> bytes:
    """The bytes of an audio file in one of libsndfile's formats."""
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform, rate_hz, format=format)
    return buffer.getvalue()


def encoded_by_ffmpeg(
    waveform: np.ndarray, rate_hz: int, container: str, codec: str, options: dict[str, str] | None = None
) -> bytes:
    """The bytes of an audio file that ffmpeg's libraries write, of samples (T,) or (T, channels).

    Args:
        waveform: float32.
        rate_hz: Of the samples, which the codec must have.
        container: ffmpeg's name, such as `mp4`.
        codec: ffmpeg's name of the encoder.
        options: Of the container and the encoder.
    """
    samples = np.atleast_2d(waveform.T)
    layout = "mono" if len(samples) == 1 else f"{len(samples)} channels" if len(samples) > 2 else "stereo"
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container, options=options or {}) as output:
        stream = output.add_stream(codec, rate=rate_hz, options=options or {})
        stream.layout = layout
        stream.codec_context.open()
        resampler = av.AudioResampler(stream.format, layout, rate_hz, frame_size=stream.frame_size or None)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples, np.float32), "fltp", layout)
        frame.sample_rate = rate_hz
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            output.mux(stream.encode(piece))
        output.mux(stream.encode(None))
    return buffer.getvalue()


def decoded_by_ffmpeg(data: bytes) -> tuple[np.ndarray, int]:
    """The samples (T, channels) that ffmpeg's libraries decode from the bytes of a file, and their rate."""
    with av.open(io.BytesIO(data)) as container:
        frames = list(container.decode(audio=0))
    resampler = av.AudioResampler("fltp")
    pieces = [piece.to_ndarray() for frame in frames for piece in resampler.resample(frame)]
    return np.concatenate(pieces, axis=1).T, frames[0].sample_rate


def id3v2_tag(content_bytes: int) -> bytes:
    """An ID3v2.3 tag with a picture of so many bytes."""
    picture = b"\0image/jpeg\0\3\0" + b"J" * content_bytes
    frame = b"APIC" + len(picture).to_bytes(4) + b"\0\0" + picture
    size = len(frame)
    return b"ID3\3\0\0" + bytes(size >> shift & 127 for shift in (21, 14, 7, 0)) + frame


def apev2_tag(content_bytes: int, *, has_header: bool = True) -> bytes:
    """An APEv2 tag with a picture of so many bytes."""
    item = (
        content_bytes.to_bytes(4, "little") + (2).to_bytes(4, "little") + b"Cover Art (Front)\0" + b"J" * content_bytes
    )
    size = (len(item) + 32).to_bytes(4, "little")
    head, foot = (
        b"APETAGEX" + (2000).to_bytes(4, "little") + size + (1).to_bytes(4, "little") + flags + bytes(8)
        for flags in (b"\0\0\0\xa0", b"\0\0\0\x80")
    )
    return (head if has_header else b"") + item + foot
