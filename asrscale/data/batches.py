"""Padded batches of utterances.

Shapes: B utterances of a pass, T samples, L labels.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from asrscale.data.hashing import NO_IDS, Ids
from asrscale.data.index import Index
from asrscale.speech.pcm import SAMPLE_RATE_HZ, Pcm
from asrscale.speech.vocabulary import Vocabulary

# No batch is shorter: SpecAugment refuses one of fewer frames than it masks in a row (10 of 20 ms).
MIN_BATCH_SAMPLES = SAMPLE_RATE_HZ // 2

LABELS_PER_SECOND = 15  # characters of fast read English; only CTC's own buffers grow with it

LABEL_PADDING = -100  # no token's id; transformers pads labels with it, too


@dataclass(frozen=True)
class Batch:
    """What one rank runs forward and backward at once."""

    utterances: Ids  # (B,) numbers in the index; none for an empty pass, of `silence`
    waveforms: Tensor  # (B, T) int16, zero after each utterance's end
    num_samples: Tensor  # (B,) true lengths
    labels: Tensor  # (B, L) token ids; LABEL_PADDING after each transcript's end
    num_labels: Tensor  # (B,) true label lengths

    def to(self, device: torch.device) -> "Batch":
        """Returns the same batch on `device`; the copy overlaps with the host's work where the batch was pinned."""
        return self._map_tensors(lambda tensor: tensor.to(device, non_blocking=True))

    def pin(self) -> "Batch":
        """Returns the same batch in page-locked memory, from which a GPU copies without waiting."""
        return self._map_tensors(Tensor.pin_memory)

    def cut(self, cap_samples: int) -> "Iterator[Batch]":
        """Yields pieces of at most `cap_samples` padded samples, or of one utterance."""
        total, padded_length = self.waveforms.shape
        size = max(1, cap_samples // padded_length)
        for first in range(0, total, size):
            rows = slice(first, first + size)
            num_samples = self.num_samples[rows]
            length = max(MIN_BATCH_SAMPLES, int(num_samples.max()))
            yield Batch(
                utterances=self.utterances[rows],
                waveforms=self.waveforms[rows, :length],
                num_samples=num_samples,
                labels=self.labels[rows],
                num_labels=self.num_labels[rows],
            )

    def _map_tensors(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """Returns the batch with each tensor changed."""
        return Batch(
            utterances=self.utterances,
            waveforms=change(self.waveforms),
            num_samples=change(self.num_samples),
            labels=change(self.labels),
            num_labels=change(self.num_labels),
        )


def collate(index: Index, vocabulary: Vocabulary, utterances: Ids, waveforms: Mapping[int, Pcm]) -> Batch:
    """Pads utterances to a batch, by numpy, which starts no threads; without any, to the silence of an empty pass.

    Args:
        index: The index that numbers the utterances.
        vocabulary: Labels the transcripts.
        utterances: (B,) their numbers.
        waveforms: The samples of each utterance, by its number.
    """
    if len(utterances) == 0:
        return silence(vocabulary)
    samples = [waveforms[int(utterance)] for utterance in utterances]
    num_samples = [len(waveform) for waveform in samples]
    labels = [vocabulary.encode(index.texts[int(utterance)].as_py()) for utterance in utterances]
    num_labels = [len(ids) for ids in labels]

    padded_samples = np.zeros((len(samples), max(MIN_BATCH_SAMPLES, *num_samples)), np.int16)
    for row, waveform in enumerate(samples):
        padded_samples[row, : len(waveform)] = waveform
    padded_labels = np.full((len(labels), max(1, *num_labels)), LABEL_PADDING, np.int64)
    for row, ids in enumerate(labels):
        padded_labels[row, : len(ids)] = ids

    return Batch(
        utterances=utterances,
        waveforms=torch.from_numpy(padded_samples),
        num_samples=torch.tensor(num_samples),
        labels=torch.from_numpy(padded_labels),
        num_labels=torch.tensor(num_labels),
    )


def silence(
    vocabulary: Vocabulary, count: int = 1, num_samples: int = MIN_BATCH_SAMPLES, *, num_labels: int = 1
) -> Batch:
    """Returns silence, which empty passes and rehearsals run.

    Args:
        vocabulary: One of its tokens stands for every label.
        count: Rows of the batch.
        num_samples: Samples of each row.
        num_labels: Labels of each row.
    """
    return Batch(
        utterances=NO_IDS,
        waveforms=torch.zeros(count, num_samples, dtype=torch.int16),
        num_samples=torch.full((count,), num_samples),
        labels=torch.full((count, num_labels), vocabulary.any_label_id),
        num_labels=torch.full((count,), num_labels),
    )


def labels_of_speech(num_samples: int, num_frames: int) -> int:
    """Returns how many equal labels a rehearsal of so much audio has: as many as speech, or as CTC can emit.

    Args:
        num_samples: Samples of the audio.
        num_frames: Frames that the model makes of them; each label but the first takes two, one of them blank.
    """
    labels = LABELS_PER_SECOND * num_samples // SAMPLE_RATE_HZ
    most = (num_frames + 1) // 2
    return max(1, min(labels, most))
