"""Utterances as players of an HTML page."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import islice

from asrscale.common import html
from asrscale.common.errors import AudioError
from asrscale.common.html import Block
from asrscale.common.storage import read_ranges
from asrscale.data.index import Index
from asrscale.speech.decoding import decode
from asrscale.speech.encoding import encode
from asrscale.speech.pcm import SAMPLE_RATE_HZ, resample, to_pcm16

# Of the sound of a page: two hours are about 30 MB of it, which a browser opens in a second or two.
SOUND_SECONDS = 7_200

MAX_SECONDS = 3600  # longer than any utterance of a shard

READ_AT_ONCE = 64  # recordings
THREADS = 4  # that decode and encode


def players(index: Index, numbers: Iterable[int]) -> dict[int, Block]:
    """Returns cells with players of utterances, by their numbers.

    It stops before the first utterance with which they would be longer than `SOUND_SECONDS`; those that cannot be read
    have no player.

    Args:
        index: The index that numbers the utterances.
        numbers: Of the utterances, the most important first.
    """
    left = iter(_that_fit(index, numbers))
    cells: dict[int, Block] = {}
    with ThreadPoolExecutor(THREADS) as pool:
        while few := list(islice(left, READ_AT_ONCE)):
            recordings = read_ranges([index.payload(number) for number in few])
            for number, mp3 in zip(few, pool.map(_to_mp3, recordings), strict=True):
                if mp3 is not None:
                    cells[number] = html.sound(index.unique_key(number), mp3)
    return cells


def _that_fit(index: Index, numbers: Iterable[int]) -> Iterable[int]:
    """Yields utterances as long as all of them together are no longer than a page holds."""
    samples = 0
    for number in numbers:
        samples += int(index.num_samples[number])
        if samples > SOUND_SECONDS * SAMPLE_RATE_HZ:
            return
        yield number


def _to_mp3(data: bytes | Exception) -> bytes | None:
    """Returns a recording, given as the bytes of any audio file, as mp3; None of one that cannot be read."""
    if isinstance(data, Exception):
        return None
    try:
        waveform, sample_rate_hz = decode(BytesIO(data), max_seconds=MAX_SECONDS)
    except AudioError:
        return None
    return encode(to_pcm16(resample(waveform, sample_rate_hz)), "mp3")
