"""Two models side by side, other seeds and another normaliser, as blocks of a page."""

from pathlib import Path
from typing import Any

import pytest
from helpers.hypotheses import spoilt

from asrscale.common.html import Block
from asrscale.data.index import Index, read_index
from asrscale.results.beside import Beside
from asrscale.results.breakdown import break_down
from asrscale.results.comparison import comparable
from asrscale.results.comparison_page import comparison_blocks, english_table, seeds_table
from asrscale.results.metrics import Metric, count_errors
from asrscale.results.other_evaluation import OtherEvaluation
from asrscale.results.page_data import gather


@pytest.fixture(scope="module")
def valid(tone_shards: Path) -> Index:
    return read_index([str(tone_shards / "valid")])


def compare(index: Index, others: list[tuple[int, str]], metric: Metric) -> tuple[dict[str, Any], dict[str, Block]]:
    """What is found of a spoilt model beside another one, and the blocks of both by their captions."""
    keys = index.keys.to_pylist()
    other = OtherEvaluation("other.jsonl", {keys[number]: text for number, text in others})
    beside = Beside(compared=[other])
    hypotheses = spoilt(index)
    found = break_down(index, hypotheses, metric, beside)
    data = gather(index, lambda: iter(hypotheses), metric, beside)
    return found, {block["caption"]: block for block in comparison_blocks(found["compared"][0], data, found)}


@pytest.mark.parametrize("metric", ["wer", "cer"])
def test_each_group_has_its_difference_as_a_bar_and_in_a_table(valid: Index, metric: Metric) -> None:
    """Compared with rates that are counted of each group by itself."""
    others = [(number, text.replace("a", "o")) for number, text in enumerate(valid.texts.to_pylist())]
    found, blocks = compare(valid, others, metric)
    own = dict(spoilt(valid))
    in_both = [(number, text) for number, text in others if number in own]
    seconds = valid.num_samples / 16_000
    groups = {"0 to 1 s": seconds < 1, "1 to 2 s": (seconds >= 1) & (seconds < 2)}
    shown = dict(blocks["Difference by duration"]["rows"])
    rows = {row[0]: row for row in blocks["By duration"]["rows"]}
    assert shown.keys() == rows.keys() == {name for name in groups if groups[name].any()}
    for name in shown:
        rates = []
        for hypotheses in (list(own.items()), in_both):
            of_group = [(number, text) for number, text in hypotheses if groups[name][number]]
            rates.append(100 * count_errors(*comparable(valid, of_group)).rate(metric))
        assert rows[name][2:4] == pytest.approx(rates)
        difference = f"{rates[0] - rates[1]:+.2f}"
        assert rows[name][4] == difference and shown[name].value == difference.replace("+0.00", "0.00")
        assert shown[name].fill == (0 if rates[0] < rates[1] else 1)
    assert found["compared"][0]["by"].keys() >= {"duration"}


def test_utterances_that_only_one_model_has_are_left_out(valid: Index) -> None:
    others = list(enumerate(valid.texts.to_pylist()))[:-3]
    found, blocks = compare(valid, others, "wer")
    compared = found["compared"][0]
    assert compared["left_out"] == 3
    both = len(valid) - 3 - 1  # one is damaged for the first model
    assert f"On the {both:,} utterances that both have" in blocks["Both models"]["note"]
    assert "3 are left out, damaged there." in blocks["Both models"]["note"]


def test_nothing_in_common_is_said(valid: Index) -> None:
    _, blocks = compare(valid, [], "wer")
    [block] = blocks.values()
    assert block["paragraphs"] == [f"No utterance in common; {len(valid) - 1:,} were damaged there."]


def test_seeds_and_another_normaliser_are_tables(valid: Index) -> None:
    keys, texts = valid.keys.to_pylist(), valid.texts.to_pylist()
    perfect = OtherEvaluation("seed 2", dict(zip(keys, texts, strict=True)))
    beside = Beside(english=lambda text: text.replace("a", ""), seeds=[perfect])
    hypotheses = spoilt(valid)
    found = break_down(valid, hypotheses, "wer", beside)
    own = count_errors(*comparable(valid, hypotheses))
    assert seeds_table(found)["rows"] == [
        ["this", f"{own.wer:.2%}", f"{own.cer:.2%}"],
        ["seed 2", "0.00%", "0.00%"],
    ]
    references, compared = comparable(valid, hypotheses)
    without_a = [[text.replace("a", "") for text in side] for side in (references, compared)]
    after = count_errors(*without_a)
    [as_in_shards, english] = english_table(found)["rows"]
    assert as_in_shards[1].startswith(f"{own.wer:.2%} (") and english[1].startswith(f"{after.wer:.2%} (")
