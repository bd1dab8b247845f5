"""Padded batches of utterances.

Shapes: B utterances of a pass, T samples, L labels.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from asrscale.data.hashing import Ids
from asrscale.data.index import Index
from asrscale.speech.pcm import SAMPLE_RATE_HZ, Pcm
from asrscale.speech.vocabulary import Vocabulary

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
