"""The rates of data sets that were evaluated together."""

from pathlib import Path

import numpy as np
import pytest
from conftest import flip_bit

from asrscale.common import distributed
from asrscale.data.index import Index, read_index
from asrscale.model.building import build_recognizer
from asrscale.results.by_data_set import rates_by_data_set, rows_by_data_set
from asrscale.results.evaluation import Evaluation, evaluate


def result_of(index: Index) -> Evaluation:
    """Of a model that has learned nothing, whose errors differ from utterance to utterance."""
    recognizer = build_recognizer("tiny", "abdegiou", seed=3)
    with distributed.joined_ranks() as world:
        return evaluate(recognizer.model, recognizer, index, world, memory_cap_seconds=40.0, threads=1, title=None)


def test_each_data_set_has_the_rates_of_its_own_evaluation(own_shards: Path) -> None:
    folders = [str(own_shards / name) for name in ("train", "valid")]
    together = read_index(folders)
    flip_bit(together, len(together) - 1)
    result = result_of(together)
    rows = rows_by_data_set(together, result)
    assert list(rows) == ["train", "valid"]
    for folder, row in zip(folders, rows.values(), strict=True):
        index = read_index([folder])
        alone = result_of(index)
        assert (row.errors, row.damaged) == (alone.errors, len(alone.damaged))
        assert row.hours == pytest.approx(index.hours)
        assert rows_by_data_set(index, alone) == {}  # one data set is the whole
    assert rows["train"].errors + rows["valid"].errors == result.errors and rows["valid"].damaged == 1
    rates = rates_by_data_set(rows, "valid")
    assert rates == {
        "valid/wer/train": rows["train"].errors.wer,
        "valid/cer/train": rows["train"].errors.cer,
        "valid/wer/valid": rows["valid"].errors.wer,
        "valid/cer/valid": rows["valid"].errors.cer,
    }


def test_a_data_set_without_utterances_in_a_subset_has_no_rate(tone_shards: Path) -> None:
    together = read_index([str(tone_shards / name) for name in ("train", "valid")])
    few = together.take(np.arange(3))
    assert list(rows_by_data_set(few, result_of(few))) == ["train"]
