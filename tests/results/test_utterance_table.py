from collections.abc import Mapping
from pathlib import Path
from random import Random

import pytest
from helpers.hypotheses import spoilt

from asrscale.common import html
from asrscale.common.html import Block
from asrscale.data.index import Index, read_index
from asrscale.results.beside import Beside
from asrscale.results.breakdown import break_down
from asrscale.results.comparison import comparable
from asrscale.results.metrics import Metric, count_errors
from asrscale.results.other_evaluation import OtherEvaluation
from asrscale.results.page_data import gather
from asrscale.results.utterance_table import difference_parts, utterance_table


@pytest.fixture(scope="module")
def valid(tone_shards: Path) -> Index:
    return read_index([str(tone_shards / "valid")])


@pytest.mark.parametrize("metric", ["wer", "cer"])
def test_the_parts_of_a_difference_are_both_texts(metric: Metric) -> None:
    random = Random(1)
    words = ["a", "b", "cd", "e"]
    for _ in range(200):
        reference, hypothesis = (" ".join(random.choices(words, k=random.randint(0, 6))) for _ in range(2))
        parts = list(difference_parts(reference, hypothesis, metric))
        said = "".join(text for text, mark in parts if mark != "wrong")
        recognised = "".join(text for text, mark in parts if mark != "missing")
        assert said.split() == reference.split() and recognised.split() == hypothesis.split()


def table_of(index: Index, sounds: Mapping[int, Block], metric: Metric, beside: Beside) -> Block:
    hypotheses = spoilt(index)
    found = break_down(index, hypotheses, metric, beside)
    return utterance_table(index, gather(index, lambda: iter(hypotheses), metric, beside), sounds, found)


def test_each_utterance_has_its_errors_and_its_rate(valid: Index) -> None:
    table = table_of(valid, {}, "wer", Beside())
    assert table["header"] == ["utterance", "seconds", "word errors", "WER %", "said and recognised"]  # and no sound
    own = dict(spoilt(valid))
    keys = valid.keys.to_pylist()
    assert len(table["rows"]) == len(own)
    for key, seconds, errors, rate, _ in table["rows"]:
        number = keys.index(key)
        counts = count_errors(*comparable(valid, [(number, own[number])]))
        assert errors == sum(counts.kinds("wer")) and rate == pytest.approx(100 * counts.wer)
        assert seconds == valid.num_samples[number] / 16_000


def test_there_are_columns_for_sound_and_for_each_other_model(valid: Index) -> None:
    others = [OtherEvaluation(f"{name}.jsonl", {valid.keys[0].as_py(): "what"}) for name in "ab"]
    table = table_of(valid, {0: html.sound("first", b"mp3")}, "cer", Beside(compared=others))
    assert table["header"][:2] == ["utterance", "sound"]
    assert table["header"][6:] == ["character errors there", "model 1", "character errors there", "model 2"]
    rows = {row[0]: row for row in table["rows"]}
    first = rows[valid.keys[0].as_py()]
    assert first[1]["kind"] == "sound" and first[6] == first[8] > 0
    others = [row for key, row in rows.items() if key != valid.keys[0].as_py()]
    assert all(row[1] is None and row[6:] == [None, "damaged there"] * 2 for row in others)
    assert "1 of them have their sound" in table["note"]
