"""Passes to padded batches: read byte ranges, check, decode in threads, collate as int16, a step ahead.

Shapes: B utterances of a pass, T samples, L labels.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from asrscale.audio import SAMPLE_RATE_HZ, Pcm, change_speed, decode_payload
from asrscale.batching import Ids
from asrscale.errors import AudioError
from asrscale.index import Index
from asrscale.storage import Cache, Range, read_ranges, read_ranges_cached
from asrscale.text import Vocabulary

Item = TypeVar("Item")

# Ranges closer than this are read as one: reading 64 KiB costs a local disk less than another request.
MERGE_GAP_BYTES = 64 * 1024

# No batch is shorter: SpecAugment refuses one of fewer frames than it masks in a row (10 of 20 ms).
MIN_BATCH_SAMPLES = SAMPLE_RATE_HZ // 2

LABELS_PER_SECOND = 15  # characters of fast read English; only CTC's own buffers grow with it


@dataclass(frozen=True)
class Batch:
    """What one rank runs forward and backward at once."""

    utterances: Ids  # (B,) numbers in the index; none for an empty pass, of `silence`
    waveforms: Tensor  # (B, T) int16, zero after each utterance's end
    num_samples: Tensor  # (B,) true lengths
    labels: Tensor  # (B, L) token ids; -100 after each transcript's end
    num_labels: Tensor  # (B,) true label lengths

    def to(self, device: torch.device) -> "Batch":
        """The same batch on `device`; overlaps with the host when it was pinned."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin(self) -> "Batch":
        """The same batch in page-locked memory, from which a GPU copies without waiting."""
        return self._each(Tensor.pin_memory)

    def cut(self, cap_samples: int) -> "Iterator[Batch]":
        """Pieces of at most so many padded samples, or of one utterance."""
        size = max(1, cap_samples // self.waveforms.shape[1])
        for rows in (slice(first, first + size) for first in range(0, len(self.num_samples), size)):
            audio = self.waveforms[rows, : max(MIN_BATCH_SAMPLES, int(self.num_samples[rows].max()))]
            yield Batch(self.utterances[rows], audio, self.num_samples[rows], self.labels[rows], self.num_labels[rows])

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        return Batch(self.utterances, *map(change, (self.waveforms, self.num_samples, self.labels, self.num_labels)))


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
        yield from one_ahead(load_step(index, vocabulary, own, decoders, pin=pin, cache=cache) for own in steps)


def one_ahead(items: Iterator[Item]) -> Iterator[Item]:
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
    speeds: Ids | None = None, cache: Cache | None = None,
) -> LoadedStep:  # fmt: skip
    """The batches of one step; `speeds` are (N,) tenths for the utterances of the index, None leaves them as they are.

    Raises:
        DataError: A shard is gone, or cannot be read at all.
    """
    waveforms, damaged = read_utterances(
        index, np.concatenate([*passes, np.zeros(0, np.int64)]), decoders, speeds, cache
    )
    good = [np.array([u for u in utterances if int(u) in waveforms], np.int64) for utterances in passes]
    batches = [collate(index, vocabulary, utterances, waveforms) for utterances in good]
    return LoadedStep([batch.pin() for batch in batches] if pin else batches, damaged)


def read_utterances(
    index: Index, utterances: Ids, decoders: Executor, speeds: Ids | None = None, cache: Cache | None = None
) -> tuple[dict[int, Pcm], tuple[Damaged, ...]]:
    """Reads, checks and decodes utterances, at their speeds; neighbours in a shard are read at once.

    Returns:
        For each good utterance its samples, (T,) int16; and the others.

    Raises:
        DataError: A shard is gone, or cannot be read at all; names shard and range.
    """
    futures: dict[int, Future[Pcm]] = {}
    for utterance, payload in _read_payloads(index, utterances, cache):
        tenths = 10 if speeds is None else int(speeds[utterance])
        futures[utterance] = decoders.submit(_decode_checked, index, utterance, payload, tenths)
    waveforms: dict[int, Pcm] = {}
    damaged: list[Damaged] = []
    for utterance, future in futures.items():
        try:
            waveforms[utterance] = future.result()
        except AudioError as error:
            damaged.append(Damaged(utterance, str(error)))
    return waveforms, tuple(damaged)


def collate(index: Index, vocabulary: Vocabulary, utterances: Ids, waveforms: dict[int, Pcm]) -> Batch:
    """Pads utterances to a batch, by numpy, which starts no threads; without any, to the silence of an empty pass."""
    if not len(utterances):
        return silence(vocabulary)
    samples = [waveforms[int(utterance)] for utterance in utterances]
    labels = [vocabulary.encode(index.texts[int(utterance)].as_py()) for utterance in utterances]
    padded = np.zeros((len(samples), max(MIN_BATCH_SAMPLES, max(map(len, samples)))), np.int16)
    targets = np.full((len(labels), max(1, max(map(len, labels)))), -100, np.int64)
    for row, (waveform, ids) in enumerate(zip(samples, labels, strict=True)):
        padded[row, : len(waveform)] = waveform
        targets[row, : len(ids)] = ids
    lengths = [torch.tensor([len(one) for one in each]) for each in (samples, labels)]
    return Batch(utterances, torch.from_numpy(padded), lengths[0], torch.from_numpy(targets), lengths[1])


def silence(vocabulary: Vocabulary, count: int = 1, num_samples: int = MIN_BATCH_SAMPLES) -> Batch:
    """What an empty pass runs: nobody's audio, `count` times, with as many labels as somebody's."""
    labels = torch.full((count, LABELS_PER_SECOND * num_samples // SAMPLE_RATE_HZ), vocabulary.unknown_id)
    lengths = torch.full((count,), num_samples), labels, torch.full((count,), labels.shape[1])
    return Batch(np.zeros(0, np.int64), torch.zeros(count, num_samples, dtype=torch.int16), *lengths)


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
