"""What the page of an evaluation is made of."""

from pathlib import Path

import numpy as np
import pytest
from helpers.hypotheses import spoilt

from asrscale.data.index import Index, read_index
from asrscale.results import page_data
from asrscale.results.beside import NOTHING, Beside
from asrscale.results.comparison import comparable
from asrscale.results.metrics import count_errors
from asrscale.results.other_evaluation import OtherEvaluation
from asrscale.results.page_data import choose, gather
from asrscale.results.tally import NOT_COUNTED, OWN


@pytest.fixture(scope="module")
def valid(tone_shards: Path) -> Index:
    return read_index([str(tone_shards / "valid")])


def test_all_counts_are_those_of_the_metric(valid: Index) -> None:
    hypotheses = spoilt(valid)
    data = gather(valid, lambda: iter(hypotheses), "wer", NOTHING)
    counts = count_errors(*comparable(valid, hypotheses))
    assert tuple(data.amounts[OWN].sum(axis=0)) == counts.amounts
    assert data.confusions["wer"].totals == counts.kinds("wer")
    assert data.confusions["cer"].totals == counts.kinds("cer")
    assert data.numbers.tolist() == [number for number, _ in hypotheses]
    assert data.seconds.sum() == pytest.approx(valid.num_samples[data.numbers].sum() / 16_000)
    words = [len(text.split()) for text in valid.texts.take(data.numbers).to_pylist()]
    assert data.units_per_second("wer") == pytest.approx(words / data.seconds)


def test_all_utterances_are_listed_the_worst_first(valid: Index) -> None:
    hypotheses = spoilt(valid)
    data = gather(valid, lambda: iter(hypotheses), "cer", NOTHING)
    edits = [one.compared.amounts[OWN].character_edits for one in data.listed]
    assert edits == sorted(edits, reverse=True) and len(edits) == len(hypotheses) == data.worst
    assert {one.number for one in data.listed} == dict(hypotheses).keys()
    for one in data.listed:
        assert one.compared.key == valid.keys[one.number].as_py()


def test_of_many_the_worst_and_a_sample_are_listed(valid: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_data, "LISTED", 6)
    hypotheses = spoilt(valid)
    everything = gather(valid, lambda: iter(hypotheses), "wer", NOTHING)
    assert len(everything.listed) == 6 and everything.worst == 3
    edits = [one.compared.amounts[OWN].word_edits for one in everything.listed]
    assert edits[:3] == sorted(everything.amounts[OWN][:, 0].tolist(), reverse=True)[:3]


def test_the_sample_is_fair_and_always_the_same() -> None:
    edits = np.array([5] * 10 + [0] * 990, np.int32)
    chosen, worst = choose(edits, 40)
    assert worst == 20 and set(range(10)) <= set(chosen[:20].tolist()) and len(set(chosen.tolist())) == 40
    assert np.array_equal(chosen, choose(edits, 40)[0])
    spread = choose(np.zeros(100_000, np.int32), 2_000)[0][1_000:]
    assert 45_000 < spread.mean() < 56_000
    assert choose(edits[:7], 40)[1] == 7


def test_another_model_is_counted_where_it_has_the_utterance(valid: Index) -> None:
    hypotheses = spoilt(valid)
    keys = valid.keys.to_pylist()
    other = OtherEvaluation("o.jsonl", {keys[number]: "one" for number, _ in hypotheses[2:]})
    data = gather(valid, lambda: iter(hypotheses), "wer", Beside(compared=[other]))
    counted = data.amounts["o.jsonl"][:, 0] != NOT_COUNTED
    assert counted.tolist() == [False, False] + [True] * (len(hypotheses) - 2)


def test_nothing_at_all(valid: Index) -> None:
    data = gather(valid, lambda: iter([]), "wer", NOTHING)
    assert not data.listed and not len(data.numbers) and data.confusions["wer"].totals == (0, 0, 0)
