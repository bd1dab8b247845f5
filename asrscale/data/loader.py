"""Passes to padded batches: read byte ranges, check, decode in threads, collate as int16, a step ahead.

Shapes: N utterances of the index, T samples.
"""

import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from asrscale.common.errors import AudioError
from asrscale.common.shard_cache import Cache, Shard, read_ranges_cached
from asrscale.common.storage import Range, read_ranges
from asrscale.data.batches import Batch, collate
from asrscale.data.decoded import Decoded
from asrscale.data.hashing import NO_IDS, Ids
from asrscale.data.index import Index
from asrscale.data.run_plan import ORIGINAL_SPEED_TENTHS
from asrscale.speech.decoding import decode_payload
from asrscale.speech.pcm import Pcm, change_speed
from asrscale.speech.vocabulary import Vocabulary

Item = TypeVar("Item")

# What is done to the sound of an utterance: of its samples (T,) and its key, from which follows what is drawn, makes
# other samples (T,), and lines about what was drawn and could not be done.
ChangeSound: TypeAlias = Callable[[Pcm, int], tuple[Pcm, tuple[str, ...]]]

# Ranges closer than this are read as one: reading 64 KiB costs a local disk less than another request.
MERGE_GAP_BYTES = 64 * 1024


@dataclass(frozen=True)
class Damaged:
    """An utterance that cannot be used, and why: `category: detail`."""

    utterance: int
    reason: str


@dataclass(frozen=True)
class Unaugmented:
    """An utterance that is used without something that was to be done to its sound, and why."""

    utterance: int
    reason: str


@dataclass(frozen=True, eq=False)
class Sound:
    """How the N utterances of an index are played."""

    speeds_tenths: Ids | None = None  # (N,) at how many tenths of its speed each is played; None: all as recorded
    change: ChangeSound | None = None  # what is done to them at that speed; None: nothing
    keys: NDArray[np.uint64] | None = None  # (N,) the key that `change` gets for each

    def speed_tenths(self, utterance: int) -> int:
        """Returns at how many tenths of its speed an utterance is played."""
        return ORIGINAL_SPEED_TENTHS if self.speeds_tenths is None else int(self.speeds_tenths[utterance])

    def keeps(self, utterance: int) -> bool:
        """Returns whether an utterance is played as it was recorded."""
        is_changed = self.change is not None and self.keys is not None
        return not is_changed and self.speed_tenths(utterance) == ORIGINAL_SPEED_TENTHS


AS_RECORDED = Sound()


@dataclass(frozen=True)
class LoadedStep:
    """One rank's share of a step."""

    batches: list[Batch]  # one a pass, without what is damaged; where nothing is left, that of an empty pass
    damaged: tuple[Damaged, ...]
    unaugmented: tuple[Unaugmented, ...] = ()


def load_steps(
    index: Index,
    vocabulary: Vocabulary,
    steps: Iterable[Sequence[Ids]],
    *,
    threads: int,
    pin: bool = False,
    cache: Cache | None = None,
) -> Iterator[LoadedStep]:
    """Yields the batches of each step of one index, while the step after it is read and decoded.

    Args:
        index: The index that numbers the utterances.
        vocabulary: Labels the transcripts.
        steps: This rank's passes of each step.
        threads: How many decode.
        pin: Whether to page-lock the batches, for a GPU.
        cache: Whole shards are read through it, where there is one.

    Raises:
        DataError: A shard is gone, or cannot be read at all.
    """
    with ThreadPoolExecutor(threads, "decode") as decoders:

        def begin(passes: Sequence[Ids]) -> Callable[[], LoadedStep]:
            begun = begin_step(index, passes, decoders, cache=cache)
            return partial(finish_step, begun, vocabulary, pin=pin)

        yield from prefetch_one(finish_in_turn(map(begin, steps)))


def finish_in_turn(begun: Iterator[Callable[[], Item]]) -> Iterator[Item]:
    """Yields what was begun, each finished once the one after it has begun: so those who decode always have work.

    What fails as it begins is raised in its turn; what takes long to begin holds up the one before it, too.
    """
    waiting: deque[Callable[[], Item]] = deque()  # without other names, which would keep samples in memory
    problem: Exception | None = None
    while True:
        try:
            waiting.append(next(begun))
        except StopIteration:
            break
        except Exception as error:
            problem = error
            break
        if len(waiting) > 1:
            yield waiting.popleft()()
    while waiting:
        yield waiting.popleft()()
    if problem is not None:
        raise problem


def prefetch_one(items: Iterator[Item]) -> Iterator[Item]:
    """Yields the items, each made in a thread of its own while the one before it is in use.

    Of loaded steps there are three in memory at most (at hand, agreed on, and being made), and one more has begun:
    224 kB for each second of padded audio in a rank's share of a step (3 × 32 kB of int16 batches; 2 × 64 kB of the
    FLAC and samples that become one).
    """

    def make_next() -> list[Item]:
        return list(islice(items, 1))  # none at the end

    with ThreadPoolExecutor(1, "read-ahead") as reader:
        pending = reader.submit(make_next)
        while True:
            made = pending.result()
            if not made:
                return
            pending = reader.submit(make_next)
            yield made.pop()  # a name for the item would keep it in memory after its use


@dataclass(frozen=True, eq=False)
class BegunStep:
    """One rank's share of a step, of which some utterances are ready, and others are being decoded and played."""

    index: Index
    passes: Sequence[Ids]  # this rank's
    ready: dict[int, Pcm]  # samples (T,) by utterance
    futures: dict[int, Future[tuple[Pcm, tuple[str, ...]]]]  # what `_play` returns, by utterance


def begin_step(
    index: Index,
    passes: Sequence[Ids],
    decoders: Executor,
    *,
    sound: Sound = AS_RECORDED,
    cache: Cache | None = None,
    decoded: Decoded | None = None,
) -> BegunStep:
    """Reads the bytes of a step, and has them decoded; `finish_step` waits for that.

    Args:
        index: The index that numbers the utterances.
        passes: This rank's.
        decoders: The threads that decode.
        sound: How the utterances are played.
        cache: Whole shards are read through it, where there is one.
        decoded: What is read once is kept there, where there is one.

    Raises:
        DataError: A shard is gone, or cannot be read at all.
    """
    utterances = np.concatenate([NO_IDS, *passes])
    kept = _find_kept(index, utterances, decoded)
    missing = np.array([utterance for utterance in utterances if int(utterance) not in kept], np.int64)
    ready = {utterance: samples for utterance, samples in kept.items() if sound.keeps(utterance)}
    futures: dict[int, Future[tuple[Pcm, tuple[str, ...]]]] = {}
    for utterance in kept.keys() - ready.keys():
        futures[utterance] = decoders.submit(_play, utterance, kept[utterance], sound)
    for utterance, payload in _read_payloads(index, missing, cache):
        futures[utterance] = decoders.submit(_play_checked, index, utterance, payload, sound, decoded)
    return BegunStep(index, passes, ready, futures)


def finish_step(begun: BegunStep, vocabulary: Vocabulary, *, pin: bool = False) -> LoadedStep:
    """Makes the batches of a step, once all of it is decoded.

    Args:
        begun: The step.
        vocabulary: Labels the transcripts.
        pin: Whether to page-lock the batches, for a GPU.
    """
    waveforms, damaged, unaugmented = _finish_utterances(begun)
    batches = []
    for own in begun.passes:
        good = np.array([utterance for utterance in own if int(utterance) in waveforms], np.int64)
        batch = collate(begun.index, vocabulary, good, waveforms)
        batches.append(batch.pin() if pin else batch)
    return LoadedStep(batches, damaged, unaugmented)


def read_utterances(
    index: Index,
    utterances: Ids,
    decoders: Executor,
    *,
    cache: Cache | None = None,
) -> tuple[dict[int, Pcm], tuple[Damaged, ...]]:
    """Reads, checks and decodes utterances as they were recorded; neighbours in a shard are read at once.

    Args:
        index: The index that numbers the utterances.
        utterances: Which of them to read.
        decoders: The threads that decode.
        cache: Whole shards are read through it, where there is one.

    Returns:
        For each good utterance its samples, (T,) int16; and the others.

    Raises:
        DataError: A shard is gone, or cannot be read at all; names shard and range.
    """
    waveforms, damaged, _ = _finish_utterances(begin_step(index, [utterances], decoders, cache=cache))
    return waveforms, damaged


def _finish_utterances(begun: BegunStep) -> tuple[dict[int, Pcm], tuple[Damaged, ...], tuple[Unaugmented, ...]]:
    """Returns the samples of the good utterances of a step; the others; and what of their sound was left out."""
    waveforms = dict(begun.ready)
    damaged: list[Damaged] = []
    unaugmented: list[Unaugmented] = []
    for utterance in sorted(begun.futures):
        try:
            waveforms[utterance], left_out = begun.futures[utterance].result()
        except AudioError as error:
            damaged.append(Damaged(utterance, str(error)))
            continue
        unaugmented += [Unaugmented(utterance, reason) for reason in left_out]
    return waveforms, tuple(damaged), tuple(unaugmented)


def _find_kept(index: Index, utterances: Ids, decoded: Decoded | None) -> dict[int, Pcm]:
    """Returns the samples (T,) of those utterances that were read before and kept."""
    if decoded is None:
        return {}
    found = {int(utterance): decoded.find(index, int(utterance)) for utterance in utterances}
    return {utterance: samples for utterance, samples in found.items() if samples is not None}


def _read_payloads(index: Index, utterances: Ids, cache: Cache | None) -> Iterator[tuple[int, bytes | Exception]]:
    """Yields each utterance, in the order of the shards, with its bytes or why they cannot be read."""
    is_inside = index.lies_in_shard(utterances)
    for utterance in utterances[~is_inside]:
        yield int(utterance), AudioError("its place in the index lies outside its shard")
    groups = _group_neighbours(index, utterances[is_inside])
    unread: list[int] = []
    for group, data in zip(groups, _read_groups(index, groups, cache), strict=True):
        if isinstance(data, Exception):
            unread += group.tolist()
            continue
        for utterance in group:
            first = int(index.offsets[utterance] - index.offsets[group[0]])
            yield int(utterance), data[first : first + int(index.sizes[utterance])]
    # No utterance is lost because its neighbour cannot be read.
    alone = read_ranges([index.payload(utterance) for utterance in unread])
    yield from zip(unread, alone, strict=True)


def _group_neighbours(index: Index, utterances: Ids) -> list[Ids]:
    """Returns the utterances by shard and offset, in groups that are worth reading in one go."""
    if len(utterances) == 0:
        return []
    order = utterances[np.lexsort((index.offsets[utterances], index.shard_ids[utterances]))]
    starts = index.offsets[order]
    ends = starts + index.sizes[order]
    gaps_bytes = starts[1:] - ends[:-1]
    shard_changes = np.diff(index.shard_ids[order]) != 0
    cuts = np.flatnonzero(shard_changes | (gaps_bytes > MERGE_GAP_BYTES)) + 1
    return np.split(order, cuts)


def _read_groups(index: Index, groups: Sequence[Ids], cache: Cache | None) -> list[bytes | Exception]:
    """Reads each group, from its first utterance's payload to the end of its last one's."""
    ranges = []
    for group in groups:
        first = index.payload(group[0])
        last = index.payload(group[-1])
        ranges.append(Range(first.path, first.start, last.start + last.size - first.start))
    if cache is None:
        return read_ranges(ranges)
    shards = np.unique([index.shard_ids[group[0]] for group in groups])
    whole = [Shard(index.shards[one], int(index.shard_bytes[one]), index.shard_sha256[one]) for one in shards]
    return read_ranges_cached(ranges, whole, cache)


def _play_checked(
    index: Index, utterance: int, payload: bytes | Exception, sound: Sound, decoded: Decoded | None
) -> tuple[Pcm, tuple[str, ...]]:
    """Decodes a payload, keeps it and plays it as `_play` does; raises AudioError as `_decode_checked`."""
    waveform = _decode_checked(index, utterance, payload)
    if decoded is not None:
        decoded.keep(index, utterance, waveform)
    return _play(utterance, waveform, sound)


def _play(utterance: int, waveform: Pcm, sound: Sound) -> tuple[Pcm, tuple[str, ...]]:
    """Plays the samples (T,) of an utterance as `sound` says.

    Returns:
        (T,) its samples; and what was to be done to them and was left out, each with the reason.
    """
    tenths = sound.speed_tenths(utterance)
    if tenths != ORIGINAL_SPEED_TENTHS:
        waveform = change_speed(waveform, tenths)
    if sound.change is None or sound.keys is None:
        return waveform, ()
    return sound.change(waveform, int(sound.keys[utterance]))


def _decode_checked(index: Index, utterance: int, payload: bytes | Exception) -> Pcm:
    """Decodes a payload of the size and checksum in the index, and compares its length.

    Args:
        index: The index that numbers the utterances.
        utterance: Its number.
        payload: Its bytes, or why they cannot be read.

    Raises:
        AudioError: `category: detail`; the utterance cannot be used.
    """
    if isinstance(payload, Exception):
        why = " ".join(str(payload).split()) or type(payload).__name__
        raise AudioError(f"unreadable: {why}")
    size = int(index.sizes[utterance])
    if len(payload) != size:
        raise AudioError(f"truncated: its shard holds {len(payload):,} of its {size:,} bytes")
    if zlib.crc32(payload) != int(index.crc32[utterance]):
        raise AudioError("checksum: differs from the index")
    length = int(index.num_samples[utterance])
    waveform = decode_payload(payload, length)
    if len(waveform) != length:
        raise AudioError(f"length: {len(waveform):,} samples, the index says {length:,}")
    return waveform
