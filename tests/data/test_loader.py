"""Passes read from shards: what they hold, and what damage costs."""

import os
import re
import tarfile
import time
import weakref
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import flip_bit
from helpers.broken_disk import break_sector

from asrscale.common.errors import DataError
from asrscale.common.storage import Range, read_ranges
from asrscale.data import loader
from asrscale.data.batches import MIN_BATCH_SAMPLES
from asrscale.data.index import Index, read_index
from asrscale.data.loader import (
    Sound,
    Unaugmented,
    begin_step,
    finish_in_turn,
    finish_step,
    load_steps,
    prefetch_one,
    read_utterances,
)
from asrscale.speech.decoding import decode_payload
from asrscale.speech.pcm import Pcm
from asrscale.speech.vocabulary import build_vocabulary

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
                    waveforms[member.name.removesuffix(".flac")] = decode_payload(tar.extractfile(member).read())
    return waveforms


def test_batches_hold_what_the_tars_hold(index: Index) -> None:
    expected = all_waveforms(index)
    order = np.random.default_rng(0).permutation(len(index)).astype(np.int64)
    steps = [[order[:5], order[5:7]], [order[7:8], order[8:8]], [order[8:]]]
    seen = []
    for passes, step in zip(steps, load_steps(index, VOCABULARY, steps, threads=2), strict=True):
        for utterances, batch in zip(passes, step.batches, strict=True):
            assert batch.waveforms.dtype == torch.int16
            for row, utterance in enumerate(utterances):
                length = int(batch.num_samples[row])
                assert np.array_equal(
                    batch.waveforms[row, :length].numpy(), expected[index.keys[int(utterance)].as_py()]
                )
                assert not batch.waveforms[row, length:].any()
                labels = batch.labels[row, : batch.num_labels[row]].tolist()
                assert labels == VOCABULARY.encode(index.texts[int(utterance)].as_py())
                assert (batch.labels[row, batch.num_labels[row] :] == -100).all()
                seen.append(int(utterance))
    assert sorted(seen) == list(range(len(index)))


def read_all(index: Index) -> tuple[dict[int, np.ndarray], dict[int, str]]:
    """Samples of the good utterances, reasons of the others."""
    with ThreadPoolExecutor(2) as pool:
        waveforms, damaged = read_utterances(index, np.arange(len(index)), pool)
    return waveforms, {one.utterance: one.reason for one in damaged}


def test_a_flipped_bit_costs_one_utterance(index: Index, own_shards: Path) -> None:
    own = read_index([str(own_shards / "train")])
    flip_bit(own, 3)
    waveforms, damaged = read_all(own)
    assert damaged == {3: "checksum: differs from the index"}
    intact, _ = read_all(index)
    assert all(np.array_equal(waveforms[number], intact[number]) for number in range(len(index)) if number != 3)


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ("num_samples", r"length: [\d,]+ samples, the index says 7"),
        ("crc32", "checksum: differs from the index"),
        ("sizes", r"checksum: differs from the index"),
        ("offsets", "checksum: differs from the index"),
    ],
)
def test_an_index_that_does_not_fit_costs_the_utterance(index: Index, column: str, reason: str) -> None:
    changed = getattr(index, column).copy()
    changed[3] = 7
    waveforms, damaged = read_all(replace(index, **{column: changed}))
    assert list(damaged) == [3] and re.fullmatch(reason, damaged[3]) and len(waveforms) == len(index) - 1


@pytest.mark.parametrize(
    ("column", "value"),
    [("sizes", 2**40), ("sizes", 2**62), ("sizes", -1), ("offsets", 2**62), ("offsets", 2**63 - 1), ("offsets", -512)],
)
def test_a_place_outside_of_its_shard_costs_the_utterance(index: Index, column: str, value: int) -> None:
    changed = getattr(index, column).copy()
    changed[3] = value
    waveforms, damaged = read_all(replace(index, **{column: changed}))
    assert damaged == {3: "unreadable: its place in the index lies outside its shard"}
    assert len(waveforms) == len(index) - 1


def test_a_payload_that_is_no_flac_costs_the_utterance(index: Index, own_shards: Path) -> None:
    own = read_index([str(own_shards / "train")])
    with open(own.shards[own.shard_ids[3]], "r+b") as file:
        file.seek(int(own.offsets[3]))
        file.write(bytes(int(own.sizes[3])))
    checksums = own.crc32.copy()
    checksums[3] = zlib.crc32(bytes(int(own.sizes[3])))
    _, damaged = read_all(replace(own, crc32=checksums))
    assert list(damaged) == [3] and damaged[3].startswith("unreadable: ")


def test_a_truncated_shard_costs_what_it_lacks(index: Index, own_shards: Path) -> None:
    own = read_index([str(own_shards / "train")])
    os.truncate(own.shards[0], int(own.offsets[3]) + 10)
    waveforms, damaged = read_all(own)
    lost = (own.shard_ids == 0) & (own.offsets >= own.offsets[3])
    assert sorted(damaged) == np.flatnonzero(lost).tolist() and len(waveforms) == len(own) - lost.sum()
    assert damaged[3] == f"truncated: its shard holds 10 of its {own.sizes[3]:,} bytes"


def test_a_pass_of_damaged_utterances_is_a_silent_batch(own_shards: Path) -> None:
    own = read_index([str(own_shards / "train")])
    flip_bit(own, 3)
    [step] = load_steps(own, VOCABULARY, [[np.array([3]), np.array([4, 5])]], threads=1)
    assert [batch.utterances.tolist() for batch in step.batches] == [[], [4, 5]]
    assert step.batches[0].waveforms.shape == (1, MIN_BATCH_SAMPLES)
    assert [one.utterance for one in step.damaged] == [3]


def test_a_missing_shard_ends_the_run(index: Index) -> None:
    moved = replace(index, shards=("/nowhere/train-000000.tar",) * len(index.shards))
    with pytest.raises(DataError, match=r"/nowhere/train-000000\.tar \(bytes .* cannot be read: No such file"):
        list(load_steps(moved, VOCABULARY, [[np.array([0])]], threads=1))


def test_one_item_is_made_ahead_and_no_more() -> None:
    """What bounds the memory of the loader: the step in use, and the next."""
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(5):
            made.append(number)
            yield number

    ahead = prefetch_one(items())
    for number in range(5):
        assert next(ahead) == number
        expected = min(number + 2, 5)
        deadline = time.monotonic() + 60
        while len(made) < expected and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        assert len(made) == expected
    assert list(ahead) == []


def test_what_fails_ahead_is_raised_in_its_turn() -> None:
    ahead = prefetch_one(1 // number for number in (1, 1, 0))
    assert [next(ahead), next(ahead)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(ahead)


def test_each_step_begins_before_the_one_ahead_of_it_is_finished() -> None:
    """So decoders have work while batches are made; and what fails as it begins is raised in its turn."""
    events: list[str] = []

    def begun(broken: int) -> Iterator[Callable[[], int]]:
        for number in range(4):
            if number == broken:
                raise ZeroDivisionError
            events.append(f"begin {number}")
            yield partial(finish, number)

    def finish(number: int) -> int:
        events.append(f"finish {number}")
        return number

    assert list(finish_in_turn(begun(broken=9))) == [0, 1, 2, 3]
    assert events == ["begin 0", "begin 1", "finish 0", "begin 2", "finish 1", "begin 3", "finish 2", "finish 3"]

    finished = finish_in_turn(begun(broken=2))
    assert [next(finished), next(finished)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(finished)
    assert list(finish_in_turn(iter(()))) == []


def test_a_step_that_was_finished_is_not_kept_while_its_batches_are_in_use() -> None:
    class Samples:
        pass

    alive: list[weakref.ref[Samples]] = []

    def begun() -> Iterator[Callable[[], int]]:
        for number in range(3):
            samples = Samples()
            alive.append(weakref.ref(samples))
            finish = partial(lambda samples, number: number, samples, number)
            del samples
            yield finish
            del finish

    finished = finish_in_turn(begun())
    for number in range(3):
        assert next(finished) == number
        assert alive[number]() is None


def test_an_item_in_use_is_not_kept_by_who_made_it() -> None:
    """A step is large: the reader must not hold the one that the caller has let go."""

    class Large:
        pass

    ahead = prefetch_one(Large() for _ in range(3))
    item = next(ahead)
    released = weakref.ref(item)
    del item
    assert released() is None


def test_speeds_change_the_length_and_10_tenths_change_nothing(index: Index) -> None:
    numbers = np.arange(6)
    speeds_tenths = np.full(len(index), 10)
    speeds_tenths[:6] = [9, 10, 11, 9, 10, 11]
    with ThreadPoolExecutor(2) as pool:
        original, _ = read_utterances(index, numbers, pool)
        step = finish_step(begin_step(index, [numbers], pool, sound=Sound(speeds_tenths)), VOCABULARY)
    [batch] = step.batches
    assert not step.damaged
    for number in range(6):
        assert batch.num_samples[number] == len(original[number]) * 10 // speeds_tenths[number]
    for number in (1, 4):
        assert np.array_equal(batch.waveforms[number, : len(original[number])], original[number])


def test_sound_is_changed_at_its_speed_by_its_key_and_what_is_left_out_is_listed(index: Index) -> None:
    numbers = np.arange(3, 6)
    keys = np.arange(len(index), dtype=np.uint64) + 100
    speeds_tenths = np.full(len(index), 9)

    def change(pcm: Pcm, key: int) -> tuple[Pcm, tuple[str, ...]]:
        return pcm // 2, ("noise: gone",) if key == 104 else ()

    with ThreadPoolExecutor(2) as pool:
        plain = finish_step(begin_step(index, [numbers], pool, sound=Sound(speeds_tenths)), VOCABULARY)
        step = finish_step(begin_step(index, [numbers], pool, sound=Sound(speeds_tenths, change, keys)), VOCABULARY)
    assert torch.equal(step.batches[0].waveforms, plain.batches[0].waveforms // 2)
    assert step.unaugmented == (Unaugmented(4, "noise: gone"),) and not plain.unaugmented and not step.damaged


def test_neighbours_are_read_at_once(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[Range] = []

    def recorded(ranges: list[Range]) -> list[bytes | Exception]:
        requests.extend(ranges)
        return read_ranges(ranges)

    monkeypatch.setattr(loader, "read_ranges", recorded)
    first_shard = np.flatnonzero(index.shard_ids == 0)
    with ThreadPoolExecutor(2) as pool:
        read_utterances(index, first_shard, pool)
        assert len(requests) == 1
        read_utterances(index, np.array([first_shard[0], len(index) - 1]), pool)
    assert [index.shards.index(request.path) for request in requests] == [0, 0, len(index.shards) - 1]
    assert requests[1] == index.payload(0)


def test_no_utterance_is_lost_because_its_neighbour_cannot_be_read(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_sector(monkeypatch, index.payload(3))
    waveforms, damaged = read_all(index)
    assert damaged == {3: "unreadable: [Errno 5] Input/output error"}
    assert len(waveforms) == len(index) - 1
