"""An utterance through a lossy codec and back, in memory, by ffmpeg's libraries.

Shape legend: T samples; float32 in [-1, 1] at 16 kHz.
"""

from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

from asrscale.augmentation.effects import CodecName
from asrscale.augmentation.sound import TELEPHONE_RATE_HZ, fit_length, to_telephone_rate
from asrscale.common.errors import AudioError
from asrscale.speech.pcm import SAMPLE_RATE_HZ, Waveform, resample, to_pcm16, to_waveform


@dataclass(frozen=True)
class _Codec:
    """How ffmpeg encodes and decodes."""

    encoder: str
    decoder: str
    sample_format: str  # that the encoder takes: 16 bits
    rate_hz: int = SAMPLE_RATE_HZ  # at which it encodes
    options: tuple[tuple[str, str], ...] = ()


_CODECS: dict[CodecName, _Codec] = {
    "mp3": _Codec("libmp3lame", "mp3float", "s16p"),
    # Half of libopus's effort takes two thirds of the time of all of it, and sounds no worse at these rates.
    "opus": _Codec("libopus", "opus", "s16", options=(("application", "voip"), ("compression_level", "5"))),
    "mulaw": _Codec("pcm_mulaw", "pcm_mulaw", "s16", rate_hz=TELEPHONE_RATE_HZ),
}

# Bits per second that are drawn from. Of mp3 those of MPEG-2 that are low, down to its lowest; of Opus its range for
# speech of narrow and wide band (RFC 6716, section 2.1.1), down to its lowest. µ-law has a single one (ITU-T G.711).
BIT_RATES: dict[CodecName, tuple[int, ...]] = {
    "mp3": (8_000, 16_000, 24_000, 32_000),
    "opus": (6_000, 8_000, 12_000, 16_000, 24_000),
    "mulaw": (64_000,),
}


def lacking_codec(name: CodecName) -> str:
    """Returns the encoder or decoder that a codec needs and ffmpeg was built without; "" where it has both."""
    codec = _CODECS[name]
    return next((one for one in (codec.encoder, codec.decoder) if one not in av.codecs_available), "")


def through_codec(waveform: Waveform, name: CodecName, bit_rate: int) -> Waveform:
    """Returns what is left of an utterance (T,) after encoding and decoding, without the delay of the two.

    ffmpeg's decoders drop the samples that the encoder says it has put in front.

    Raises:
        AudioError: ffmpeg refuses to.
    """
    codec = _CODECS[name]
    sent = to_telephone_rate(waveform) if codec.rate_hz == TELEPHONE_RATE_HZ else waveform
    try:
        decoded, rate_hz = _decode(codec, *_encode(codec, sent, bit_rate))
    except av.FFmpegError as error:
        raise AudioError(f"{name} at {bit_rate:,} bit/s: {error.strerror}") from error
    return fit_length(resample(decoded, rate_hz), len(waveform)).clip(-1, 1)


def _encode(codec: _Codec, waveform: Waveform, bit_rate: int) -> "tuple[list[av.Packet[av.AudioStream]], bytes | None]":
    """Returns the packets of a waveform, and what its decoder needs to know beforehand."""
    encoder = av.CodecContext.create(codec.encoder, "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate = codec.rate_hz
    encoder.layout = "mono"
    encoder.format = codec.sample_format
    encoder.bit_rate = bit_rate
    encoder.time_base = Fraction(1, codec.rate_hz)
    encoder.thread_count = 1
    encoder.options = dict(codec.options)
    frame = av.AudioFrame.from_ndarray(to_pcm16(waveform)[None], format=codec.sample_format, layout="mono")
    frame.sample_rate = codec.rate_hz
    frame.pts = 0
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    return packets, encoder.extradata


def _decode(codec: _Codec, packets: "list[av.Packet[av.AudioStream]]", extradata: bytes | None) -> tuple[Waveform, int]:
    """Returns the samples of packets, and their rate in Hz."""
    decoder = av.CodecContext.create(codec.decoder, "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate = codec.rate_hz
    decoder.layout = "mono"
    decoder.thread_count = 1
    if extradata:
        decoder.extradata = extradata
    frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    samples = np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])
    waveform: Waveform = to_waveform(samples) if samples.dtype == np.int16 else samples.astype(np.float32)
    return waveform, frames[0].sample_rate
