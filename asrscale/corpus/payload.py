"""A row's recording and transcript as a shard stores them, once both have passed all checks."""

import io
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from asrscale.common.addresses import clean_text
from asrscale.common.errors import AudioError
from asrscale.corpus.checks import Rules, TextLength, check_audio, check_length, check_markup, check_text, text_length
from asrscale.sources.channel import channel_of
from asrscale.sources.recordings import AudioRoot, local_recording, open_audio
from asrscale.sources.rows import Row
from asrscale.sources.segments import SEGMENT_TOLERANCE_SECONDS
from asrscale.speech.blocks import HEADERLESS_EXTENSIONS, NamedBytes, Source, extension_of
from asrscale.speech.decoding import count_channels, decode
from asrscale.speech.encoding import Codec, encode
from asrscale.speech.normalisation import normalise
from asrscale.speech.parts import probe_seconds
from asrscale.speech.pcm import SAMPLE_RATE_HZ, Pcm, Waveform, resample, to_pcm16

# What the audio is stored as: encoded anew, the `original` bytes of its file, or `in_place` in a tar that exists.
Storage: TypeAlias = Codec | Literal["original", "in_place"]

# What to do with a recording that cannot stay as it is.
_REENCODE = "build it with --codec flac"

# Of a file name, where a member of a tar may have it: KEY.txt and KEY.json are the transcript and the source's columns.
_AUDIO_EXTENSION = re.compile("(?!txt|json)[a-z0-9]{1,5}")


@dataclass(frozen=True)
class Payload:
    """One utterance, ready to be stored.

    Attributes:
        extension: What the name of the audio's member ends in, such as `flac`.
        audio: The bytes of an audio file.
        num_samples: Its length at 16 kHz.
        text: The normalised transcript.
    """

    extension: str
    audio: bytes
    num_samples: int
    text: str


@dataclass(frozen=True)
class PreparedRow:
    """A row whose transcript can be used, and whose recording is there if it is a file.

    Attributes:
        row: As the source has it.
        path: The file of its recording; None where it lies in a tar or behind a URL.
        text: The normalised transcript.
        length: How much speech that needs.
    """

    row: Row
    path: str | None
    text: str
    length: TextLength


def prepare_row(row: Row, audio_root: AudioRoot, rules: Rules) -> PreparedRow:
    """Does what can be done for a row before its recording is opened.

    Raises:
        AudioError: The row cannot be used; the message is `reason: detail`.
    """
    if row.unusable:
        raise AudioError(row.unusable)
    path = local_recording(row, audio_root)
    if not row.text.strip():
        raise AudioError("empty transcript: the source has none")
    if rules.text.markup == "reject":
        check_markup(row.text)
    text = normalise(clean_text(row.text), rules.text)
    check_text(text, rules)
    return PreparedRow(row, path, text, text_length(text, rules))


def make_payload(prepared: PreparedRow, audio_root: AudioRoot, rules: Rules, codec: Storage) -> Payload:
    """Decodes, checks and encodes the recording of a row.

    Raises:
        AudioError: It cannot be used; the message is `reason: detail`.
    """
    row = prepared.row
    source = prepared.path or open_audio(row, audio_root)
    if codec == "original" or codec == "in_place":
        return _keep_bytes(prepared, source, rules)
    start_seconds, seconds = _segment_of(row, source)
    channel = channel_of(row, source)
    waveform, rate_hz = decode(source, rules.max_seconds, start_seconds, seconds, channel=channel)
    pcm = _check_pcm(waveform, rate_hz, prepared.length, rules)
    return Payload(extension=codec, audio=encode(pcm, codec), num_samples=len(pcm), text=prepared.text)


def _keep_bytes(prepared: PreparedRow, source: str | io.BytesIO, rules: Rules) -> Payload:
    """Returns a payload whose audio has the bytes of the recording; it is decoded for the checks only."""
    row = prepared.row
    audio = Path(source).read_bytes() if isinstance(source, str) else source.getvalue()
    content = io.BytesIO(audio)
    channel = channel_of(row, source)
    waveform, rate_hz = _decode_as_stored(content, extension_of(source), rules.max_seconds, channel)
    num_samples = len(_check_pcm(waveform, rate_hz, prepared.length, rules))
    surplus_seconds = num_samples / SAMPLE_RATE_HZ - (row.seconds or math.inf)
    if row.start_seconds or surplus_seconds > SEGMENT_TOLERANCE_SECONDS:
        raise AudioError(f"segment: a part of its recording, which can only be stored whole: {_REENCODE}")
    if channel is not None and count_channels(source) > 1:
        raise AudioError(f"channel: one of its recording's, which can only be stored with the others: {_REENCODE}")
    return Payload(extension=_extension_of(row), audio=audio, num_samples=num_samples, text=prepared.text)


def _decode_as_stored(
    content: io.BytesIO, extension: str, max_seconds: float, channel: int | None
) -> tuple[Waveform, int]:
    """Decodes a recording as a run will, which has its bytes, but no file name with this extension."""
    if extension not in HEADERLESS_EXTENSIONS:
        return decode(content, max_seconds, channel=channel)
    named = decode(NamedBytes(content.getvalue(), f"recording{extension}"), max_seconds, channel=channel)
    try:
        stored, _ = decode(content, max_seconds, channel=channel)
    except AudioError:
        stored = None
    if stored is None or not np.array_equal(named[0], stored):
        raise AudioError(f"no header: only the name says that it is {extension}, and shards lack it: {_REENCODE}")
    return named


def _segment_of(row: Row, source: Source) -> tuple[float, float | None]:
    """Returns where to start in a recording and how much of it to take, in seconds; None is to its end.

    As NeMo does: a duration cuts off the rest of the recording, but one that is longer than the recording is no fault
    (its an4_train.json gives 2 s for recordings of 1 s). Where no segment is asked for, one that is shorter by less
    than its rounding is none.
    """
    start_seconds, seconds = row.segment
    if start_seconds or not row.seconds:
        return start_seconds, seconds
    length_seconds = probe_seconds(source)
    tolerance_seconds = SEGMENT_TOLERANCE_SECONDS if row.start_seconds is None else 0.0
    is_longer = length_seconds > row.seconds + tolerance_seconds
    return 0.0, row.seconds if is_longer else None


def _extension_of(row: Row) -> str:
    """Returns the extension of the row's file name, or `audio` where a tar's member cannot have it."""
    extension = Path(row.audio).suffix.lower().removeprefix(".")
    return extension if _AUDIO_EXTENSION.fullmatch(extension) else "audio"


def _check_pcm(waveform: Waveform, rate_hz: int, length: TextLength, rules: Rules) -> Pcm:
    """Returns a decoded recording (T,) at 16 kHz.

    Raises:
        AudioError: A transcript of that length cannot be learned from it; the message is `reason: detail`.
    """
    check_audio(waveform)
    pcm = to_pcm16(resample(waveform, rate_hz))
    check_length(length, len(pcm), rules)
    return pcm
