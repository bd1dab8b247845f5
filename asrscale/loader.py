"""Passes to padded batches: read byte ranges, check, decode in threads, collate as int16, a step ahead.

Shapes: B utterances of a pass, T samples, L labels.
"""

import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asrscale.audio import SAMPLE_RATE_HZ, decode_flac
from asrscale.batching import Ids
from asrscale.errors import AudioError, DataError
from asrscale.index import Index
from asrscale.text import Vocabulary

# Ranges closer than this are read as one: reading 64 KiB costs a local disk less than another request.
MERGE_GAP_BYTES = 64 * 1024

# No batch is shorter: SpecAugment refuses one of fewer frames than it masks in a row (10 of 20 ms).
MIN_BATCH_SAMPLES = SAMPLE_RATE_HZ // 2


@dataclass(frozen=True)
class Batch:
    """What one rank runs forward and backward at once.

    Attributes:
        utterances: (B,) numbers in the index; none for an empty pass, which holds one silent utterance.
        waveforms: (B, T) int16, zero after each utterance's end.
        num_samples: (B,) true lengths.
        labels: (B, L) token ids; -100 after each transcript's end.
        num_labels: (B,) true label lengths.
    """

    utterances: Ids
    waveforms: Tensor
    num_samples: Tensor
    labels: Tensor
    num_labels: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same batch on `device`; overlaps with the host when it was pinned."""
        moved = (getattr(self, name).to(device, non_blocking=True) for name in _TENSORS)
        return Batch(self.utterances, *moved)

    def pin(self) -> "Batch":
        """The same batch in page-locked memory, from which a GPU copies without waiting."""
        return Batch(self.utterances, *(getattr(self, name).pin_memory() for name in _TENSORS))


_TENSORS = ("waveforms", "num_samples", "labels", "num_labels")


def load_steps(
    index: Index, vocabulary: Vocabulary, steps: Iterable[Sequence[Ids]], *, threads: int, pin: bool = False
) -> Iterator[list[Batch]]:
    """Yields the batches of each step, while the step after it is read and decoded.

    Args:
        index: Where the utterances are.
        vocabulary: Turns transcripts into labels.
        steps: For each step the passes of this rank.
        threads: Decoding threads; libsndfile runs outside the interpreter's lock.
        pin: Page-lock the batches, for a GPU.

    Raises:
        DataError: A shard does not hold what the index promises; names shard and key.
    """
    with ThreadPoolExecutor(threads, "decode") as decoders, ThreadPoolExecutor(1, "read-ahead") as reader:

        def load(passes: Sequence[Ids]) -> list[Batch]:
            waveforms = read_utterances(index, np.concatenate([*passes, np.zeros(0, np.int64)]), decoders)
            batches = [collate(index, vocabulary, utterances, waveforms) for utterances in passes]
            return [batch.pin() for batch in batches] if pin else batches

        yield from _one_ahead(steps, load, reader)


def read_utterances(index: Index, utterances: Ids, decoders: Executor) -> dict[int, NDArray[np.int16]]:
    """Reads, checks and decodes utterances; neighbours in a shard are read at once.

    Returns:
        For each utterance its samples, (T,) int16.

    Raises:
        DataError: Names shard and key of what is damaged.
    """
    order = utterances[np.lexsort((index.offsets[utterances], index.shard_ids[utterances]))]
    futures: dict[int, Future[NDArray[np.int16]]] = {}
    for group in _merge_ranges(index, order):
        start = int(index.offsets[group[0]])
        data = _read_range(index.shards[index.shard_ids[group[0]]], start, int(_end(index, group[-1])) - start)
        for utterance in map(int, group):
            first = int(index.offsets[utterance]) - start
            payload = data[first : first + int(index.sizes[utterance])]
            futures[utterance] = decoders.submit(_decode_checked, index, utterance, payload)
    return {utterance: future.result() for utterance, future in futures.items()}


def collate(index: Index, vocabulary: Vocabulary, utterances: Ids, waveforms: dict[int, NDArray[np.int16]]) -> Batch:
    """Pads utterances to a batch; without any, to the silent batch of an empty pass."""
    samples = [waveforms[int(utterance)] for utterance in utterances]
    labels = [vocabulary.encode(index.texts[int(utterance)].as_py()) for utterance in utterances]
    if not samples:
        samples, labels = [np.zeros(MIN_BATCH_SAMPLES, np.int16)], [[vocabulary.unknown_id]]
    padded = torch.zeros(len(samples), max(MIN_BATCH_SAMPLES, max(map(len, samples))), dtype=torch.int16)
    targets = torch.full((len(labels), max(1, max(map(len, labels)))), -100, dtype=torch.long)
    for row, (waveform, ids) in enumerate(zip(samples, labels, strict=True)):
        padded[row, : len(waveform)] = torch.from_numpy(waveform)
        targets[row, : len(ids)] = torch.tensor(ids, dtype=torch.long)
    num_samples = torch.tensor([len(waveform) for waveform in samples])
    return Batch(utterances, padded, num_samples, targets, torch.tensor([len(ids) for ids in labels]))


def _one_ahead(
    steps: Iterable[Sequence[Ids]], load: Callable[[Sequence[Ids]], list[Batch]], reader: Executor
) -> Iterator[list[Batch]]:
    """Loads each step while the one before it is in use."""
    pending: deque[Future[list[Batch]]] = deque()
    for passes in steps:
        pending.append(reader.submit(load, passes))
        if len(pending) > 1:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _end(index: Index, utterance: np.int64) -> np.int64:
    """Where an utterance's payload ends in its shard."""
    end: np.int64 = index.offsets[utterance] + index.sizes[utterance]
    return end


def _merge_ranges(index: Index, order: Ids) -> Iterator[Ids]:
    """Groups utterances, sorted by shard and offset, that are worth reading in one go."""
    first = 0
    for i in range(1, len(order) + 1):
        if (
            i == len(order)
            or index.shard_ids[order[i]] != index.shard_ids[order[i - 1]]
            or index.offsets[order[i]] - _end(index, order[i - 1]) > MERGE_GAP_BYTES
        ):
            yield order[first:i]
            first = i


def _read_range(shard: str, offset: int, size: int) -> bytes:
    """`size` bytes of a local file, or as many as there are."""
    try:
        file = os.open(shard, os.O_RDONLY)
    except OSError as error:
        raise DataError(f"{shard} cannot be read: {error.strerror}") from error
    try:
        return os.pread(file, size, offset)
    finally:
        os.close(file)


def _decode_checked(index: Index, utterance: int, payload: bytes) -> NDArray[np.int16]:
    """Decodes a payload after comparing its checksum and its length with the index."""
    if zlib.crc32(payload) != int(index.crc32[utterance]):
        raise DataError(f"{index.name(utterance)} is damaged: its checksum differs from the index")
    try:
        waveform = decode_flac(payload)
    except AudioError as error:
        raise DataError(f"{index.name(utterance)} is damaged: {error}") from error
    if len(waveform) != int(index.num_samples[utterance]):
        promised = int(index.num_samples[utterance])
        raise DataError(f"{index.name(utterance)} has {len(waveform):,} samples, its index says {promised:,}")
    return waveform
