"""A small corpus is read and decoded once."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.plans import plan_in_windows, run_steps

from asrscale.data import decoded, loader
from asrscale.data.catalog import read_catalog
from asrscale.data.decoded import Decoded, decoded_of
from asrscale.data.index import read_index
from asrscale.data.loader import LoadedStep, Sound, begin_step, finish_step
from asrscale.data.run_plan import RunPlan
from asrscale.model.building import build_recognizer
from asrscale.speech.pcm import Pcm
from asrscale.speech.vocabulary import build_vocabulary


@pytest.fixture(params=[1, 3], ids=["one window", "several windows"])
def plan(request: pytest.FixtureRequest, tone_shards: Path, monkeypatch: pytest.MonkeyPatch) -> RunPlan:
    return plan_in_windows(tone_shards / "train", build_recognizer("tiny", ""), monkeypatch, windows=request.param)


def decode_counts(plan: RunPlan, monkeypatch: pytest.MonkeyPatch) -> tuple[Counter[str], list[torch.Tensor]]:
    """How often each utterance is decoded in three epochs, and the waveforms of all passes."""
    decode, counts = loader._decode_checked, Counter[str]()

    def counted(index: loader.Index, utterance: int, payload: bytes | Exception) -> Pcm:
        counts[f"{index.shards[index.shard_ids[utterance]]} {index.offsets[utterance]}"] += 1
        return decode(index, utterance, payload)

    with monkeypatch.context() as patch:
        patch.setattr(loader, "_decode_checked", counted)
        steps = run_steps(plan, 0, 3 * int(sum(plan.steps)))
    return counts, [batch.waveforms for step in steps for batch in step.batches]


def test_a_corpus_is_decoded_once_and_its_batches_are_the_same(plan: RunPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    kept_counts, kept = decode_counts(plan, monkeypatch)
    monkeypatch.setattr(decoded, "KEPT_BYTES", int(plan.catalog.samples.sum()) * 2 - 1)
    counts, waveforms = decode_counts(plan, monkeypatch)
    assert len(kept_counts) == plan.catalog.utterances.sum() and set(kept_counts.values()) == {1}
    assert kept_counts.keys() == counts.keys() and set(counts.values()) == {3}
    assert all(torch.equal(*pair) for pair in zip(kept, waveforms, strict=True))


def test_nothing_is_kept_of_a_corpus_that_is_too_large(tone_shards: Path) -> None:
    catalog = read_catalog([str(tone_shards / "train")])
    fits = replace(catalog, samples=np.array([decoded.KEPT_BYTES // 2]))
    assert decoded_of(fits) is not None
    assert decoded_of(replace(fits, samples=fits.samples + 1)) is None


def test_what_is_kept_is_as_recorded_and_cannot_be_changed(tone_shards: Path) -> None:
    index = read_index([str(tone_shards / "train")])
    numbers, keys = np.arange(3), np.zeros(len(index), np.uint64)
    speeds_tenths = np.full(len(index), 9)
    kept = Decoded()

    def quieter(pcm: Pcm, key: int) -> tuple[Pcm, tuple[str, ...]]:
        pcm[:] = pcm // 2
        return pcm, ()

    with ThreadPoolExecutor(1) as pool:

        def load(**how: Any) -> LoadedStep:
            return finish_step(begin_step(index, [numbers], pool, **how), build_vocabulary(""))

        first, again = (load(sound=Sound(speeds_tenths), decoded=kept) for _ in range(2))
        assert torch.equal(first.batches[0].waveforms, again.batches[0].waveforms)
        recorded = load(decoded=kept).batches[0].waveforms
        assert torch.equal(recorded, load().batches[0].waveforms)
        with pytest.raises(ValueError, match="read-only"):
            load(sound=Sound(None, quieter, keys), decoded=kept)
