"""What is counted beside a model's own errors, on the tone corpus and hypotheses that are made up."""

from pathlib import Path

import numpy as np
import pytest
from helpers.hypotheses import spoilt

from asrscale.data.index import Index, read_index
from asrscale.results.beside import Beside
from asrscale.results.beside_text import format_beside
from asrscale.results.breakdown import break_down
from asrscale.results.breakdown_text import format_breakdown
from asrscale.results.metrics import count_errors
from asrscale.results.other_evaluation import OtherEvaluation
from asrscale.speech.characters import UNKNOWN_MARK


@pytest.fixture(scope="module")
def valid(tone_shards: Path) -> Index:
    return read_index([str(tone_shards / "valid")])


def right(index: Index) -> list[tuple[int, str]]:
    return list(enumerate(index.texts.to_pylist()))


def other(index: Index, hypotheses: list[tuple[int, str]], name: str = "other.jsonl") -> OtherEvaluation:
    return OtherEvaluation(name, {index.keys[number].as_py(): text for number, text in hypotheses})


def test_a_model_is_compared_on_the_same_utterances_and_by_group(valid: Index) -> None:
    beside = Beside(compared=[other(valid, right(valid))])
    found = break_down(valid, spoilt(valid), "wer", beside)
    [compared] = found["compared"]
    assert compared["other"] == "other.jsonl" and compared["other_wer"] == compared["other_cer"] == 0
    assert compared["wer"] == compared["wer_difference"] == found["wer"] > 0
    assert (compared["utterances"], compared["left_out"]) == (len(valid) - 1, 0)
    assert compared["wer_difference_low"] > 0 and compared["wer_p"] < 0.01
    groups = compared["by"]["duration"]
    assert groups.keys() == found["by"]["duration"].keys()
    assert {value: group["wer"] for value, group in groups.items()} == {
        value: group["wer"] for value, group in found["by"]["duration"].items()
    }


def test_the_other_way_round_it_is_better_by_as_much(valid: Index) -> None:
    own, others = spoilt(valid), right(valid)
    [worse] = break_down(valid, own, "wer", Beside(compared=[other(valid, others)]))["compared"]
    pairs = [pair for pair in others if pair[0] != 1]
    [better] = break_down(valid, pairs, "wer", Beside(compared=[other(valid, own)]))["compared"]
    assert better["wer_difference"] == -worse["wer_difference"] and better["wer_p"] == worse["wer_p"]
    assert better["cer_difference_high"] == pytest.approx(-worse["cer_difference_low"], abs=0.02)


def test_the_utterances_that_changed_most_come_first_with_both_texts(valid: Index) -> None:
    [compared] = break_down(valid, spoilt(valid), "wer", Beside(compared=[other(valid, right(valid))]))["compared"]
    changed = compared["changed"]
    assert changed[0]["key"] == valid.keys[5].as_py() and changed[0]["more_word_edits"] > 3
    assert "→" in changed[0]["aligned"] and changed[0]["other_aligned"] == valid.texts[5].as_py()
    sizes = [abs(one["more_word_edits"]) for one in changed]
    assert sizes == sorted(sizes, reverse=True) and min(sizes) > 0


def test_hypotheses_of_the_other_are_normalised_as_the_own_ones(valid: Index) -> None:
    shouted = [(number, text.upper() + "!") for number, text in right(valid)]
    [compared] = break_down(valid, right(valid), "wer", Beside(compared=[other(valid, shouted)]))["compared"]
    assert compared["other_wer"] == compared["wer_difference"] == 0 and compared["wer_p"] == 1
    assert compared["changed"] == []


def test_an_unknown_token_of_the_other_counts_as_one_wrong_character(valid: Index) -> None:
    text = valid.texts[0].as_py()
    hypotheses = right(valid)
    hypotheses[0] = (0, UNKNOWN_MARK + text[1:])
    [compared] = break_down(valid, right(valid), "cer", Beside(compared=[other(valid, hypotheses)]))["compared"]
    [change] = compared["changed"]
    assert (change["more_character_edits"], change["more_word_edits"]) == (-1, -1)
    assert change["other_aligned"] == f"[{text[0]}→{UNKNOWN_MARK}]{text[1:]}"


def test_what_was_damaged_there_is_left_out_and_said(valid: Index) -> None:
    beside = Beside(compared=[other(valid, right(valid)[3:])], seeds=[other(valid, right(valid)[3:], "seed.jsonl")])
    found = break_down(valid, right(valid), "wer", beside)
    [compared], seeds = found["compared"], found["seeds"]
    assert (
        (compared["utterances"], compared["left_out"])
        == (len(valid) - 3, 3)
        == (seeds["utterances"], seeds["left_out"])
    )
    text = "\n".join(format_beside(found))
    assert "3 utterances left out, damaged there" in text and "3 utterances left out, damaged in some" in text


def test_several_seeds_have_a_mean_and_a_scatter(valid: Index) -> None:
    files = [other(valid, right(valid), "a.jsonl"), other(valid, [(n, "") for n, _ in right(valid)], "b.jsonl")]
    found = break_down(valid, spoilt(valid), "cer", Beside(seeds=files))
    seeds = found["seeds"]
    assert seeds["of_each"]["wer"] == [found["wer"], 0, 1] and seeds["others"] == ["a.jsonl", "b.jsonl"]
    assert seeds["wer"]["mean"] == pytest.approx((found["wer"] + 1) / 3)
    assert seeds["wer"]["standard_deviation"] == pytest.approx(np.std([found["wer"], 0, 1], ddof=1))
    [line] = format_beside(found)
    assert line.startswith(f"  3 seeds: CER {seeds['cer']['mean']:.2%} ± ") and "(0.00% to 100.00%)" in line


def test_the_english_normaliser_has_rates_of_its_own(valid: Index) -> None:
    def without_first_word(text: str) -> str:
        return " ".join(text.split()[1:])

    hypotheses = spoilt(valid)
    found = break_down(valid, hypotheses, "wer", Beside(english=without_first_word))
    texts = {number: without_first_word(valid.texts[number].as_py()) for number, _ in hypotheses}
    kept = [(texts[number], without_first_word(text.lower())) for number, text in hypotheses if texts[number]]
    counted = count_errors([reference for reference, _ in kept], [hypothesis for _, hypothesis in kept])
    english = found["english"]
    assert (english["wer"], english["cer"]) == (counted.wer, counted.cer) != (found["wer"], found["cer"])
    assert (english["utterances"], english["left_out"]) == (len(kept), len(hypotheses) - len(kept))
    assert english["by"].keys() == found["by"].keys() and english["wer_low"] < english["wer"] < english["wer_high"]
    assert f"english: WER {english['wer']:.2%} (" in format_breakdown(found)
    of_nothing = break_down(valid, hypotheses, "wer", Beside(english=lambda text: ""))
    assert of_nothing["english"]["utterances"] == 0 and "it leaves nothing" in format_breakdown(of_nothing)
