import gc
import os
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import flip_bit, learn_tones
from transformers import Wav2Vec2ForCTC, Wav2Vec2Processor

from asrscale.common import distributed
from asrscale.common.distributed import World
from asrscale.common.errors import CliError
from asrscale.common.shard_cache import Cache
from asrscale.data.index import read_index
from asrscale.data.loader import read_utterances
from asrscale.model.architectures import ARCHITECTURES
from asrscale.model.building import build_recognizer
from asrscale.model.recognizer import Recognizer
from asrscale.results import evaluation
from asrscale.results.breakdown import break_down
from asrscale.results.evaluation import Evaluation, choose_subset, evaluate
from asrscale.results.metrics import count_errors
from asrscale.results.predictions import predictions, print_damaged, row_of, table
from asrscale.speech.normalisation import NEUTRAL, normalise_hypothesis


@pytest.fixture(scope="module")
def world() -> World:
    with distributed.joined_ranks() as joined:
        yield joined


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return build_recognizer("tiny", "abc", seed=5)


def result_at(cap_seconds: float, recognizer: Recognizer, shards: Path, world: World) -> Evaluation:
    index = read_index([str(shards / "valid")])
    return evaluate(recognizer.model, recognizer, index, world, memory_cap_seconds=cap_seconds, threads=1, title=None)


def texts_of(result: Evaluation) -> dict[int, str]:
    return dict(result.hypotheses())


def test_each_utterance_is_counted_once_whatever_the_passes(
    recognizer: Recognizer, tone_shards: Path, world: World
) -> None:
    index = read_index([str(tone_shards / "valid")])
    alone, together = (result_at(cap, recognizer, tone_shards, world) for cap in (0.1, 40.0))
    rows = list(predictions(index, together.hypotheses()))
    assert [row["key"] for row in rows] == index.keys.to_pylist()
    assert [row["reference"] for row in rows] == index.texts.to_pylist()
    assert texts_of(alone) == texts_of(together) and alone.errors == together.errors
    assert alone.loss == pytest.approx(together.loss, rel=1e-5)
    recounted = count_errors(
        [row["reference"] for row in rows], [row["hypothesis"].replace("[UNK]", "unk") for row in rows]
    )
    assert together.errors.utterances == recounted.utterances == len(index)
    assert not recognizer.model.training


@pytest.mark.slow
def test_the_wer_of_a_group_norm_model_is_the_same_at_batch_1_and_32_and_that_of_stock_transformers_is_not(
    tone_shards: Path, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ARCHITECTURES, "group", ARCHITECTURES["tiny"] | {"feat_extract_norm": "group"})
    recognizer, index = build_recognizer("group", "", seed=0), read_index([str(tone_shards / "train")])
    learn_tones(recognizer, steps=70)
    options = dict(threads=1, title=None)
    one, many = (
        evaluate(recognizer.model, recognizer, index, world, memory_cap_seconds=cap, **options) for cap in (0.1, 400.0)
    )
    assert texts_of(one) == texts_of(many) and one.errors == many.errors and one.errors.wer < 0.9

    recognizer.save(tmp_path)
    stock, processor = Wav2Vec2ForCTC.from_pretrained(tmp_path), Wav2Vec2Processor.from_pretrained(tmp_path)
    with ThreadPoolExecutor(1) as pool:
        pcm, _ = read_utterances(index, np.arange(len(index)), pool)
    texts: dict[int, list[str]] = {1: [], 32: []}
    for size in texts:
        for first in range(0, len(index), size):
            clips = [pcm[i] / 32768.0 for i in range(first, min(first + size, len(index)))]
            inputs = processor(clips, sampling_rate=16_000, return_tensors="pt", padding=True)
            with torch.no_grad():
                texts[size] += processor.batch_decode(stock(inputs.input_values.float()).logits.argmax(-1))
    rates = [count_errors(index.texts.to_pylist(), found).wer for found in texts.values()]
    assert rates[0] == pytest.approx(one.errors.wer, abs=0.005)
    assert sum(alone != other for alone, other in zip(texts[1], texts[32], strict=True)) > 2, rates


def test_windows_and_the_order_of_the_ranks_are_not_seen_in_the_result(
    recognizer: Recognizer, tone_shards: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = result_at(40.0, recognizer, tone_shards, world)
    monkeypatch.setattr(evaluation, "WINDOW", 5)
    parts = result_at(40.0, recognizer, tone_shards, world)
    assert list(parts.hypotheses()) == list(whole.hypotheses()) and parts.errors == whole.errors
    assert parts.loss == pytest.approx(whole.loss, rel=1e-5)


def test_memory_hardly_grows_with_the_utterances(
    recognizer: Recognizer, tone_shards: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the counts that intervals are made of. It took 1,170 bytes each while all texts were in memory."""
    for name, value in (("WINDOW", 50), ("UNIT_SAMPLES", 16_000), ("UNITS_PER_STEP", 2)):
        monkeypatch.setattr(evaluation, name, value)
    index, how = read_index([str(tone_shards / "train")]), dict(memory_cap_seconds=40.0, threads=1, title=None)
    thresholds = gc.get_threshold()

    def peaks(count: int) -> np.ndarray:
        many, found = index.take(np.resize(np.arange(len(index)), count)), []
        gc.collect()
        tracemalloc.start()
        result = evaluate(recognizer.model, recognizer, many, world, **how)
        found.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.reset_peak()
        assert break_down(many, result.hypotheses(), "wer")["utterances"] == count
        found.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        return np.array(found)

    gc.freeze()  # else cycles of transformers' and jiwer's objects wait for as many as torch has, and look like growth
    gc.set_threshold(100, 1, 1)
    try:
        peaks(60)
        growth = (peaks(1_200) - peaks(200)) / 1_000
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
    assert growth.sum() < 500, growth


def test_shards_come_from_the_cache(
    recognizer: Recognizer, tone_shards: Path, own_shards: Path, world: World, tmp_path: Path
) -> None:
    index = read_index([str(own_shards / "valid")])
    cache = Cache(str(tmp_path / "cache"), 10**9)
    options = dict(memory_cap_seconds=40.0, threads=1, title=None, cache=cache)
    first = evaluate(recognizer.model, recognizer, index, world, **options)
    for shard in index.shards:
        os.remove(shard)
    again = evaluate(recognizer.model, recognizer, index, world, **options)
    assert texts_of(first) == texts_of(again) == texts_of(result_at(40.0, recognizer, tone_shards, world))


def test_damaged_utterances_are_listed_and_in_no_rate(
    recognizer: Recognizer, tone_shards: Path, own_shards: Path, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    index = read_index([str(own_shards / "valid")])
    flip_bit(index, 2)
    damaged, intact = (result_at(40.0, recognizer, root, world) for root in (own_shards, tone_shards))
    assert [one.utterance for one in damaged.damaged] == [2] and damaged.errors.utterances == len(index) - 1
    assert texts_of(damaged) == {i: text for i, text in texts_of(intact).items() if i != 2}
    assert capsys.readouterr().err == ""
    print_damaged(index, damaged)
    assert f"{index.name(2)} is left out: checksum" in capsys.readouterr().err
    assert table({"x": row_of(index, damaged)}, "wer").splitlines()[-1] == "x: 1 damaged utterances are left out"
    for number in range(len(index)):
        if number != 2:
            flip_bit(index, number)
    with pytest.raises(CliError, match=f"none of {len(index)} utterances can be read"):
        result_at(40.0, recognizer, own_shards, world)


@pytest.mark.parametrize("cap_seconds", [0.1, 40.0])
@pytest.mark.parametrize("empty", [[0], [0, 1, 2, 3], None])
def test_utterances_without_text_have_no_loss_and_what_is_recognised_in_them_are_insertions(
    empty: list[int] | None, cap_seconds: float, recognizer: Recognizer, tone_shards: Path, world: World
) -> None:
    """Also where a pass, or the whole of the data, has no text."""
    whole = read_index([str(tone_shards / "valid")])
    texts = ["" if empty is None or i in empty else text for i, text in enumerate(whole.texts.to_pylist())]
    index = replace(whole, texts=pa.array(texts, whole.texts.type))
    result = evaluate(recognizer.model, recognizer, index, world, memory_cap_seconds=cap_seconds, threads=1, title=None)
    hypotheses = texts_of(result)
    assert result.errors == count_errors(
        texts, [normalise_hypothesis(hypotheses[i], NEUTRAL) for i in range(len(texts))]
    )
    if empty is None:
        assert result.loss is None and result.errors.amounts.words == 0
    else:
        others = whole.take(np.setdiff1d(np.arange(len(whole)), empty))
        how = dict(memory_cap_seconds=cap_seconds, threads=1, title=None)
        assert result.loss == pytest.approx(evaluate(recognizer.model, recognizer, others, world, **how).loss, rel=1e-5)


def test_the_subset_is_fixed_and_spread(tone_shards: Path) -> None:
    index = read_index([str(tone_shards / "train")])
    subset = choose_subset(index, 10)
    assert subset.keys.to_pylist() == choose_subset(index, 10).keys.to_pylist()
    assert len(set(subset.keys.to_pylist())) == 10 and len(set(subset.shard_ids.tolist())) > 1
    assert choose_subset(index, 10_000) is index
