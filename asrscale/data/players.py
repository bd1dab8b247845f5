"""Utterances as players of an HTML page."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

from asrscale.common import html
from asrscale.common.errors import AudioError, DataError
from asrscale.common.html import Block
from asrscale.common.progress import progress
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
    chosen = list(_that_fit(index, numbers))
    cells: dict[int, Block] = {}
    is_long = len(chosen) > READ_AT_ONCE
    with (
        ThreadPoolExecutor(THREADS) as pool,
        progress(len(chosen), "sound for the page", "recordings", enabled=is_long) as bar,
    ):
        for start in range(0, len(chosen), READ_AT_ONCE):
            few = chosen[start : start + READ_AT_ONCE]
            for number, mp3 in zip(few, pool.map(_to_mp3, _read(index, few)), strict=True):
                if mp3 is not None:
                    cells[number] = html.sound(index.unique_key(number), mp3)
            bar.advance(len(few))
    return cells


def _read(index: Index, numbers: Sequence[int]) -> Sequence[bytes | Exception]:
    """Returns the recordings of utterances, or why there are none."""
    try:
        return read_ranges([index.payload(number) for number in numbers])
    except DataError as error:  # a shard that is gone: a page without some sound is better than none
        return [error] * len(numbers)


def _that_fit(index: Index, numbers: Iterable[int]) -> Iterator[int]:
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
