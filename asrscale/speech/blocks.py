"""Recordings and what decoders make of them: blocks of samples.

Shape legend: T samples, C channels.
"""

import io
import os
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from asrscale.common.errors import AudioError

# A file's path, or the bytes of a file; `NamedBytes` where these had a name.
Source: TypeAlias = str | os.PathLike[str] | io.BytesIO

# What the names of files without a header end in: only their names say how they are encoded.
HEADERLESS_EXTENSIONS = (
    *(".vox", ".vox6", ".vox8", ".gsm", ".ul", ".ulaw", ".mulaw", ".pcmu", ".al", ".alaw", ".pcma", ".sln"),
    *(".g722", ".722", ".g723_1", ".g729", ".sbc", ".msbc", ".aptx", ".aptxhd"),
)

# Samples (T, C) in about [-1, 1].
Frames: TypeAlias = npt.NDArray[np.float32]

# Beyond lie damaged headers, and resampling filters of absurd length.
MIN_RATE_HZ = 1_000
MAX_RATE_HZ = 1_000_000

# How many samples of those that its header promises a sound recording may lack: real Common Voice clips lack 270, and
# an encoder may pad by one mp3 frame of 1,152 samples at either end.
TRUNCATION_TOLERANCE_FRAMES = 2 * 1_152


@dataclass(frozen=True, eq=False)
class Block:
    """A piece of a recording.

    Attributes:
        samples: (T, C).
        rate_hz: The recording's own sample rate.
        start: How many samples of the recording come before it.
    """

    samples: Frames
    rate_hz: int
    start: int

    @property
    def end(self) -> int:
        """How many samples of the recording there are up to its end."""
        return self.start + len(self.samples)


class NamedBytes(io.BytesIO):
    """The bytes of a file with its name, by which formats without a header are known.

    Attributes:
        name: A file name, path or URL.
    """

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


def extension_of(source: Source) -> str:
    """Returns what the name of a recording ends in, with the dot and in lower case; empty for bytes without a name."""
    if isinstance(source, io.BytesIO):
        name = source.name if isinstance(source, NamedBytes) else ""
    else:
        name = os.fspath(source)
    return os.path.splitext(name)[1].lower()


class UnknownFormatError(AudioError):
    """A decoder does not know the format of a recording; another may."""


def check_rate(rate_hz: int) -> None:
    """Raises AudioError where a file gives a sample rate that no recording has."""
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise AudioError(f"unreadable: a sample rate of {rate_hz:,} Hz")


def truncated(found: int, promised: int) -> AudioError:
    """Returns the error for a recording with so many of the samples that it should have."""
    return AudioError(f"truncated: {found:,} of {promised:,} frames could be decoded")
