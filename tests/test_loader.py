import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from asrscale.audio import decode_flac
from asrscale.errors import DataError
from asrscale.index import Index, read_index
from asrscale.loader import MIN_BATCH_SAMPLES, collate, load_steps, read_utterances
from asrscale.text import build_vocabulary

VOCABULARY = build_vocabulary("")


@pytest.fixture
def index(tone_shards: Path) -> Index:
    return read_index([str(tone_shards / "train")])


def all_waveforms(index: Index) -> dict[str, np.ndarray]:
    """Key to samples, read by tarfile alone."""
    waveforms = {}
    for shard in index.shards:
        with tarfile.open(shard) as tar:
            for member in tar:
                if member.name.endswith(".flac"):
                    waveforms[member.name.removesuffix(".flac")] = decode_flac(tar.extractfile(member).read())
    return waveforms


def test_batches_hold_what_the_tars_hold(index: Index) -> None:
    expected = all_waveforms(index)
    order = np.random.default_rng(0).permutation(len(index)).astype(np.int64)
    steps = [[order[:5], order[5:7]], [order[7:8], order[8:8]], [order[8:]]]
    seen = []
    for passes, batches in zip(steps, load_steps(index, VOCABULARY, steps, threads=2), strict=True):
        for utterances, batch in zip(passes, batches, strict=True):
            assert batch.waveforms.dtype == torch.int16
            for row, utterance in enumerate(utterances):
                waveform, length = expected[index.keys[int(utterance)].as_py()], int(batch.num_samples[row])
                assert np.array_equal(batch.waveforms[row, :length].numpy(), waveform)
                assert not batch.waveforms[row, length:].any()
                labels = batch.labels[row, : batch.num_labels[row]].tolist()
                assert labels == VOCABULARY.encode(index.texts[int(utterance)].as_py())
                assert (batch.labels[row, batch.num_labels[row] :] == -100).all()
                seen.append(int(utterance))
    assert sorted(seen) == list(range(len(index)))


def test_an_empty_pass_is_a_silent_batch(index: Index) -> None:
    batch = collate(index, VOCABULARY, np.zeros(0, np.int64), {})
    assert batch.waveforms.shape == (1, MIN_BATCH_SAMPLES) and not batch.waveforms.any()
    assert len(batch.utterances) == 0


def test_a_flipped_byte_is_named(index: Index, tmp_path: Path) -> None:
    damaged = tmp_path / "copy.tar"
    content = bytearray(Path(index.shards[index.shard_ids[3]]).read_bytes())
    content[int(index.offsets[3]) + int(index.sizes[3]) // 2] ^= 1
    damaged.write_bytes(content)
    moved = replace(index, shards=(str(damaged),) * len(index.shards))
    with ThreadPoolExecutor(1) as pool, pytest.raises(DataError, match=f"copy.tar:{index.keys[3].as_py()} is damaged"):
        read_utterances(moved, np.array([3]), pool)


def test_a_missing_shard_is_named(index: Index) -> None:
    moved = replace(index, shards=("/nowhere/train-000000.tar",) * len(index.shards))
    with pytest.raises(DataError, match=r"/nowhere/train-000000\.tar cannot be read"):
        list(load_steps(moved, VOCABULARY, [[np.array([0])]], threads=1))


def test_a_truncated_shard_is_named(index: Index, tmp_path: Path) -> None:
    short = tmp_path / "short.tar"
    short.write_bytes(Path(index.shards[index.shard_ids[3]]).read_bytes()[: int(index.offsets[3]) + 10])
    moved = replace(index, shards=(str(short),) * len(index.shards))
    with ThreadPoolExecutor(1) as pool, pytest.raises(DataError, match=r"short.tar:.* is damaged"):
        read_utterances(moved, np.array([3]), pool)
