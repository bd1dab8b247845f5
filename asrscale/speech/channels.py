"""Which channels of a recording have a sound of their own: those of a call, of microphones; and which do not.

Shapes: T samples, C channels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asrscale.common.errors import AudioError
from asrscale.speech.blocks import Source
from asrscale.speech.parts import read_blocks

# What is left of a channel's power where another, at the level that fits best, is taken from it: 40 dB below is what
# lossy codecs leave of channels that were equal.
_SAME_POWER = 1e-4

_SILENT_POWER = 2.0**-30  # of samples that are one step of 16 bits


@dataclass(frozen=True)
class Channels:
    """The channels of a recording.

    Attributes:
        distinct: Those with a sound of their own, from 0; at least one.
        notes: Why others are left out, a line each; channels are counted from 1.
    """

    distinct: tuple[int, ...]
    notes: tuple[str, ...] = ()


def find_channels(source: Source) -> Channels:
    """Returns the channels of a recording with a sound of their own, of which all is read.

    Raises:
        AudioError: `category: detail`; it cannot be read, holds samples that are no numbers, or is empty.
    """
    products = _products(source)
    powers = np.diag(products)
    distinct: list[int] = []
    notes: list[str] = []
    for channel in range(len(powers)):
        if powers[channel] <= _SILENT_POWER:
            notes.append(f"channel {channel + 1} is silent: it is left out")
            continue
        same = next(_same_as(channel, distinct, products), None)
        if same is None:
            distinct.append(channel)
        else:
            other, how = same
            notes.append(f"channel {channel + 1} is {how} channel {other + 1}: it is transcribed once")
    if not distinct:
        return Channels((0,), ("all of it is silent",))
    return Channels(tuple(distinct), tuple(notes))


def _same_as(channel: int, others: list[int], products: npt.NDArray[np.float64]) -> Iterator[tuple[int, str]]:
    """Yields which of other channels has the same sound, at any level, and in which way."""
    for other in others:
        correlation = products[channel, other] / np.sqrt(products[channel, channel] * products[other, other])
        if 1 - correlation**2 <= _SAME_POWER:
            yield other, "the same as" if correlation > 0 else "the opposite of"


def _products(source: Source) -> npt.NDArray[np.float64]:
    """Returns (C, C) the mean products of the samples of each two channels."""
    sums = np.zeros((0, 0))
    frames = 0
    for block in read_blocks(source):
        samples = block.samples.astype(np.float64)
        if not np.isfinite(samples).all():
            raise AudioError("non-finite: holds NaN or infinite samples")
        if frames and samples.shape[1] != len(sums):
            raise AudioError("unreadable: its number of channels changes: convert it to one of one number")
        sums = samples.T @ samples + (sums if frames else 0.0)
        frames += len(samples)
    if not frames:
        raise AudioError("empty: holds no samples")
    return sums / frames
