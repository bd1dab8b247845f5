"""A stretch of one of the recordings of a folder.

No more is decoded than is needed, wherever the format can be entered in its middle, and nothing is kept: a thread holds
one stretch at a time, in the recording's own rate and channels.

Shape legend: T samples.
"""

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from asrscale.augmentation.sound import check_audible
from asrscale.common.errors import AudioError
from asrscale.common.storage import read_local
from asrscale.data.index import Index
from asrscale.speech.blocks import MIN_RATE_HZ
from asrscale.speech.decoding import count_channels, decode, decode_payload, decode_stretch
from asrscale.speech.parts import is_entered_quickly, probe_seconds
from asrscale.speech.pcm import SAMPLE_RATE_HZ, Waveform, resample, to_waveform

# Of a recording that can only be decoded from its beginning on, such as an mp3, no more than this is used.
MAX_SECONDS_FROM_START = 60.0

MAX_IMPULSE_SECONDS = 20.0  # a cathedral rings for ten

_CHECKED_SECONDS = 0.1  # at the end, which is what is missing in a file that was cut off
_MARGIN_SECONDS = 1.0  # above what is asked for, that no rounding makes it too long
_REMEMBERED_LENGTHS = 100_000  # some tens of megabytes


@dataclass(frozen=True, eq=False)
class Recordings:
    """The recordings of a folder."""

    folder: str
    paths: tuple[str, ...]  # of a folder of recordings, relative to it, sorted
    index: Index | None  # of a data set folder
    fingerprint: str  # a hash of what is in it, wherever it lies
    notes: tuple[str, ...]  # lines about what of it is not used

    def __len__(self) -> int:
        return len(self.paths) if self.index is None else len(self.index)

    def name(self, number: int) -> str:
        """Returns what to call recording `number` in a message."""
        return os.path.join(self.folder, self.paths[number]) if self.index is None else self.index.name(number)


def read_stretch(recordings: Recordings, number: int, place: float, num_samples: int) -> Waveform:
    """Returns a stretch of a recording, of the mean of its channels; one that is shorter is repeated.

    Args:
        recordings: Of a folder.
        number: Which of them, from 0.
        place: From 0 to below 1: where the stretch begins, from the first possible place to the last.
        num_samples: How long it is.

    Returns:
        (num_samples,) float32 at 16 kHz.

    Raises:
        AudioError: The recording cannot be decoded, or the stretch is silent; names it.
    """
    with _named(recordings, number):
        if recordings.index is None:
            waveform, surplus = _read_file(recordings.name(number), place, num_samples), 0
        else:
            waveform = _read_utterance(recordings.index, number)
            surplus = max(0, len(waveform) - num_samples)
        is_short = len(waveform) < num_samples
        first = int(place * (len(waveform) if is_short else surplus + 1))
        stretch = np.resize(np.roll(waveform, -first), num_samples)
        check_audible(stretch)
    return stretch


def read_impulse_response(recordings: Recordings, number: int, channel: float) -> Waveform:
    """Returns an impulse response, (T,) float32 at 16 kHz.

    Args:
        recordings: Of a folder.
        number: Which of them, from 0.
        channel: From 0 to below 1: which of its channels, each of which was measured at another place.

    Raises:
        AudioError: It cannot be decoded, or is silent or too long to be one; names it.
    """
    with _named(recordings, number):
        if recordings.index is None:
            response = _read_impulse_response(recordings.name(number), channel)
        else:
            response = _read_utterance(recordings.index, number)
        check_audible(response)
    return response


def check_noise(path: str) -> bool:
    """Looks at the headers of a recording and at its end, or at its beginning where that would take long.

    Returns:
        Whether it is longer than what is used of it.

    Raises:
        AudioError: `category: detail`; it cannot be used.
    """
    length = _length(path)
    if length.is_entered_quickly:
        decode(path, _MARGIN_SECONDS, start_seconds=max(0.0, length.seconds - _CHECKED_SECONDS))
    else:
        decode(path, _MARGIN_SECONDS, seconds=min(_CHECKED_SECONDS, length.seconds))
    return length.used_seconds < length.seconds


def check_impulse_response(path: str) -> None:
    """Decodes an impulse response; raises AudioError where it cannot be used."""
    check_audible(_read_impulse_response(path, channel=0.0))


@dataclass(frozen=True)
class _Length:
    """How long a recording is."""

    seconds: float
    is_entered_quickly: bool

    @property
    def used_seconds(self) -> float:
        """How much of it may be decoded."""
        return self.seconds if self.is_entered_quickly else min(self.seconds, MAX_SECONDS_FROM_START)


@lru_cache(maxsize=_REMEMBERED_LENGTHS)
def _length(path: str) -> _Length:
    """Returns how long a recording is; raises AudioError where that cannot be found out."""
    return _Length(probe_seconds(path), is_entered_quickly(path))


def _read_file(path: str, place: float, num_samples: int) -> Waveform:
    """Returns `num_samples` samples of a recording from `place` on, or all of one that is shorter."""
    wanted_seconds = num_samples / SAMPLE_RATE_HZ
    length = _length(path)
    surplus_seconds = length.used_seconds - wanted_seconds
    if surplus_seconds > 0:
        start_seconds = place * surplus_seconds
        if length.is_entered_quickly:
            waveform, rate_hz = decode_stretch(path, start_seconds, wanted_seconds)
        else:
            waveform, rate_hz = decode(path, wanted_seconds + _MARGIN_SECONDS, start_seconds, wanted_seconds)
        # Places are rounded to the recording's own samples, so that one of these may be missing at the end.
        missing = 2 * SAMPLE_RATE_HZ // MIN_RATE_HZ
        return np.pad(resample(waveform, rate_hz), (0, missing), mode="edge")[:num_samples]
    is_whole = length.used_seconds == length.seconds
    seconds = None if is_whole else length.used_seconds
    waveform, rate_hz = decode(path, length.used_seconds + _MARGIN_SECONDS, seconds=seconds)
    return resample(waveform, rate_hz)


def _read_impulse_response(path: str, channel: float) -> Waveform:
    """Returns one channel of a whole recording."""
    waveform, rate_hz = decode(path, MAX_IMPULSE_SECONDS, channel=int(channel * count_channels(path)))
    return resample(waveform, rate_hz)


def _read_utterance(index: Index, number: int) -> Waveform:
    """Returns a recording of a data set folder."""
    payload = read_local(index.payload(number))
    if isinstance(payload, Exception):
        raise AudioError(f"unreadable: {payload}")
    if zlib.crc32(payload) != int(index.crc32[number]):
        raise AudioError("checksum: differs from the index")
    return to_waveform(decode_payload(payload, int(index.num_samples[number])))


@contextmanager
def _named(recordings: Recordings, number: int) -> Iterator[None]:
    """Puts the name of a recording before the message of an AudioError."""
    try:
        yield
    except AudioError as error:
        raise AudioError(f"{recordings.name(number)}: {error}") from error
