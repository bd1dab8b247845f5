"""Passes to padded batches: read byte ranges, check, decode in threads, collate as int16, a step ahead.

Shapes: B utterances of a pass, T samples, L labels.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np

from asrscale.common.errors import AudioError
from asrscale.common.shard_cache import Cache, read_ranges_cached
from asrscale.common.storage import Range, read_ranges
from asrscale.data.batches import Batch, collate
from asrscale.data.hashing import Ids
from asrscale.data.index import Index
from asrscale.speech.decoding import decode_payload
from asrscale.speech.pcm import Pcm, change_speed
from asrscale.speech.vocabulary import Vocabulary

Item = TypeVar("Item")


# Ranges closer than this are read as one: reading 64 KiB costs a local disk less than another request.
MERGE_GAP_BYTES = 64 * 1024


@dataclass(frozen=True)
class Damaged:
    """An utterance that cannot be used, and why: `category: detail`."""

    utterance: int
    reason: str


@dataclass(frozen=True)
class LoadedStep:
    """One rank's share of a step."""

    batches: list[Batch]  # one a pass, without what is damaged; where nothing is left, that of an empty pass
    damaged: tuple[Damaged, ...]


def load_steps(
    index: Index, vocabulary: Vocabulary, steps: Iterable[Sequence[Ids]], *, threads: int, pin: bool = False,
    cache: Cache | None = None,
) -> Iterator[LoadedStep]:  # fmt: skip
    """Yields the batches of each step of one index, while the step after it is read and decoded.

    `steps` are this rank's passes of each; the rest is as for `steps.steps_from`.

    Raises:
        DataError: A shard is gone, or cannot be read at all.
    """
    with ThreadPoolExecutor(threads, "decode") as decoders:
        yield from prefetch_one(load_step(index, vocabulary, own, decoders, pin=pin, cache=cache) for own in steps)


def prefetch_one(items: Iterator[Item]) -> Iterator[Item]:
    """Makes each item in a thread of its own while the one before it is in use.

    Of loaded steps there are three in memory at most, for the moment in which one is handed over: 160 kB for each
    second of padded audio in a rank's share of a step (3 × 32 kB of int16 batches; 64 kB of the FLAC and samples that
    become one).
    """
    with ThreadPoolExecutor(1, "read-ahead") as reader:
        pending = reader.submit(list, islice(items, 1))
        while found := pending.result():
            pending = reader.submit(list, islice(items, 1))
            yield found.pop()


def load_step(
    index: Index, vocabulary: Vocabulary, passes: Sequence[Ids], decoders: Executor, *, pin: bool = False,
    speeds_tenths: Ids | None = None, cache: Cache | None = None,
) -> LoadedStep:  # fmt: skip
    """The batches of one step, played at (N,) `speeds_tenths`; None leaves the utterances of the index as recorded.

    Raises:
        DataError: A shard is gone, or cannot be read at all.
    """
    waveforms, damaged = read_utterances(
        index, np.concatenate([*passes, np.zeros(0, np.int64)]), decoders, speeds_tenths, cache
    )
    good = [np.array([u for u in utterances if int(u) in waveforms], np.int64) for utterances in passes]
    batches = [collate(index, vocabulary, utterances, waveforms) for utterances in good]
    return LoadedStep([batch.pin() for batch in batches] if pin else batches, damaged)


def read_utterances(
    index: Index, utterances: Ids, decoders: Executor, speeds_tenths: Ids | None = None, cache: Cache | None = None
) -> tuple[dict[int, Pcm], tuple[Damaged, ...]]:
    """Reads, checks and decodes utterances, at their speeds; neighbours in a shard are read at once.

    Returns:
        For each good utterance its samples, (T,) int16; and the others.

    Raises:
        DataError: A shard is gone, or cannot be read at all; names shard and range.
    """
    futures: dict[int, Future[Pcm]] = {}
    for utterance, payload in _read_payloads(index, utterances, cache):
        tenths = 10 if speeds_tenths is None else int(speeds_tenths[utterance])
        futures[utterance] = decoders.submit(_decode_checked, index, utterance, payload, tenths)
    waveforms: dict[int, Pcm] = {}
    damaged: list[Damaged] = []
    for utterance, future in futures.items():
        try:
            waveforms[utterance] = future.result()
        except AudioError as error:
            damaged.append(Damaged(utterance, str(error)))
    return waveforms, tuple(damaged)


def _read_payloads(index: Index, utterances: Ids, cache: Cache | None) -> Iterator[tuple[int, bytes | Exception]]:
    """The bytes of each utterance in the order of the shards, or why they cannot be read."""
    order = utterances[np.lexsort((index.offsets[utterances], index.shard_ids[utterances]))]
    groups = _merge_ranges(index, order)
    ranges = [_range(index, group) for group in groups]
    sizes = {index.shards[number]: int(index.shard_bytes[number]) for number in np.unique(index.shard_ids[utterances])}
    alone: list[Ids] = []
    read = read_ranges_cached(ranges, sizes, cache) if cache else read_ranges(ranges)
    for group, found in zip(groups, read, strict=True):
        if isinstance(found, Exception):
            alone += np.array_split(group, len(group))
            continue
        for utterance in group:
            first = int(index.offsets[utterance] - index.offsets[group[0]])
            yield int(utterance), found[first : first + int(index.sizes[utterance])]
    # No utterance is lost because its neighbour cannot be read.
    yield from zip((int(one[0]) for one in alone), read_ranges([_range(index, one) for one in alone]), strict=True)


def _range(index: Index, group: Ids) -> Range:
    """From the first utterance's payload to the end of the last one's."""
    start, end = int(index.offsets[group[0]]), int(index.offsets[group[-1]] + index.sizes[group[-1]])
    return Range(index.shards[index.shard_ids[group[0]]], start, end - start)


def _merge_ranges(index: Index, order: Ids) -> list[Ids]:
    """Groups utterances, sorted by shard and offset, that are worth reading in one go."""
    shards, starts = index.shard_ids[order], index.offsets[order]
    gaps = starts[1:] - (starts + index.sizes[order])[:-1]
    cuts = np.flatnonzero((np.diff(shards) != 0) | (gaps > MERGE_GAP_BYTES)) + 1
    return np.split(order, cuts) if len(order) else []


def _decode_checked(index: Index, utterance: int, payload: bytes | Exception, tenths: int) -> Pcm:
    """Decodes a payload that has the size and checksum that the index says, and compares its length.

    Raises:
        AudioError: `category: detail`; the utterance cannot be used.
    """
    size, length = int(index.sizes[utterance]), int(index.num_samples[utterance])
    if isinstance(payload, Exception):
        raise AudioError(f"unreadable: {' '.join(str(payload).split()) or type(payload).__name__}")
    if len(payload) != size:
        raise AudioError(f"truncated: its shard holds {len(payload):,} of its {size:,} bytes")
    if zlib.crc32(payload) != int(index.crc32[utterance]):
        raise AudioError("checksum: differs from the index")
    waveform = decode_payload(payload)
    if len(waveform) != length:
        raise AudioError(f"length: {len(waveform):,} samples, the index says {length:,}")
    return waveform if tenths == 10 else change_speed(waveform, tenths)
