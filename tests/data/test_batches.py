"""Padded batches of utterances."""

from pathlib import Path

import numpy as np
import pytest
import torch

from asrscale.data.batches import (
    LABEL_PADDING,
    LABELS_PER_SECOND,
    MIN_BATCH_SAMPLES,
    Batch,
    collate,
    labels_of_speech,
    silence,
)
from asrscale.data.index import Index, read_index
from asrscale.speech.frames import frames_needed
from asrscale.speech.pcm import SAMPLE_RATE_HZ
from asrscale.speech.vocabulary import build_vocabulary

VOCABULARY = build_vocabulary("")
LENGTHS = (9_000, 20_000, 1)


@pytest.fixture
def index(tone_shards: Path) -> Index:
    return read_index([str(tone_shards / "train")])


@pytest.fixture
def batch(index: Index) -> Batch:
    """Three utterances of LENGTHS, which are 4, 7 and 2 in the index, without a silent sample."""
    numbers = np.array([4, 7, 2])
    waveforms = {
        int(number): np.full(length, number, np.int16) for number, length in zip(numbers, LENGTHS, strict=True)
    }
    return collate(index, VOCABULARY, numbers, waveforms)


def test_a_batch_holds_each_waveform_and_its_labels_and_padding_after_them(index: Index, batch: Batch) -> None:
    assert batch.waveforms.dtype == torch.int16 and batch.waveforms.shape == (3, 20_000)
    assert batch.num_samples.tolist() == list(LENGTHS)
    for row, (number, length) in enumerate(zip((4, 7, 2), LENGTHS, strict=True)):
        assert (batch.waveforms[row, :length] == number).all() and not batch.waveforms[row, length:].any()
        labels = VOCABULARY.encode(index.texts[number].as_py())
        assert batch.num_labels[row] == len(labels)
        assert batch.labels[row, : len(labels)].tolist() == labels
        assert (batch.labels[row, len(labels) :] == LABEL_PADDING).all()


def test_no_batch_is_shorter_than_the_shortest(index: Index) -> None:
    batch = collate(index, VOCABULARY, np.array([4]), {4: np.ones(10, np.int16)})
    assert batch.waveforms.shape == (1, MIN_BATCH_SAMPLES)
    assert batch.waveforms.sum() == 10 and batch.num_samples.tolist() == [10]


def test_an_empty_pass_is_a_silent_batch(index: Index) -> None:
    batch = collate(index, VOCABULARY, np.zeros(0, np.int64), {})
    assert batch.waveforms.shape == (1, MIN_BATCH_SAMPLES) and not batch.waveforms.any()
    assert len(batch.utterances) == 0


def test_silence_has_rows_of_the_given_length_and_labels() -> None:
    batch = silence(VOCABULARY, count=3, num_samples=2 * SAMPLE_RATE_HZ, num_labels=7)
    assert batch.waveforms.shape == (3, 2 * SAMPLE_RATE_HZ) and batch.waveforms.dtype == torch.int16
    assert batch.num_samples.tolist() == [2 * SAMPLE_RATE_HZ] * 3
    assert batch.num_labels.tolist() == [7] * 3
    assert (batch.labels == VOCABULARY.unknown_id).all() and batch.labels.shape == (3, 7)
    assert len(batch.utterances) == 0


def test_labels_of_speech_are_as_many_as_ctc_can_emit() -> None:
    assert labels_of_speech(2 * SAMPLE_RATE_HZ, num_frames=99) == 2 * LABELS_PER_SECOND
    for num_frames in range(1, 70):
        num_labels = labels_of_speech(2 * SAMPLE_RATE_HZ, num_frames)
        assert 1 <= num_labels <= 2 * LABELS_PER_SECOND
        assert frames_needed([VOCABULARY.unknown_id] * num_labels) <= num_frames
        is_most = frames_needed([VOCABULARY.unknown_id] * (num_labels + 1)) > num_frames
        assert is_most or num_labels == 2 * LABELS_PER_SECOND


@pytest.mark.parametrize(
    ("cap_samples", "sizes"), [(10**9, [3]), (60_000, [3]), (59_999, [2, 1]), (20_000, [1, 1, 1]), (1, [1, 1, 1])]
)
def test_pieces_of_a_batch_are_within_the_cap_or_of_one_utterance(
    batch: Batch, cap_samples: int, sizes: list[int]
) -> None:
    pieces = list(batch.cut(cap_samples))
    assert [len(piece.utterances) for piece in pieces] == sizes
    assert [number for piece in pieces for number in piece.utterances.tolist()] == [4, 7, 2]
    row = 0
    for piece in pieces:
        longest = max(MIN_BATCH_SAMPLES, int(piece.num_samples.max()))
        assert piece.waveforms.shape == (len(piece.utterances), longest)
        rows = slice(row, row + len(piece.utterances))
        assert torch.equal(piece.waveforms, batch.waveforms[rows, :longest])
        assert torch.equal(piece.num_samples, batch.num_samples[rows])
        assert torch.equal(piece.labels, batch.labels[rows])
        assert torch.equal(piece.num_labels, batch.num_labels[rows])
        row = rows.stop


def test_a_batch_moves_with_all_its_tensors(batch: Batch) -> None:
    moved = batch.to(torch.device("meta"))
    tensors = (moved.waveforms, moved.num_samples, moved.labels, moved.num_labels)
    assert all(tensor.is_meta for tensor in tensors)
    assert moved.waveforms.shape == batch.waveforms.shape and moved.utterances is batch.utterances


@pytest.mark.skipif(not torch.cuda.is_available(), reason="only a GPU's driver locks pages")
def test_a_pinned_batch_is_the_same_in_locked_pages(batch: Batch) -> None:
    pinned = batch.pin()
    for tensor, own in ((pinned.waveforms, batch.waveforms), (pinned.labels, batch.labels)):
        assert tensor.is_pinned() and torch.equal(tensor, own)
    assert pinned.num_samples.is_pinned() and pinned.num_labels.is_pinned()
