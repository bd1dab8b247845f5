"""The page of an evaluation."""

import base64
import html
import json
import re
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from helpers.hypotheses import spoilt
from helpers.outline import Outline

from asrscale.common.errors import CliError
from asrscale.data.index import Index, read_index
from asrscale.results import page_data
from asrscale.results.beside import NOTHING, Beside
from asrscale.results.breakdown import break_down
from asrscale.results.comparison import comparable
from asrscale.results.evaluation_page import write_evaluation_page
from asrscale.results.metrics import count_errors
from asrscale.results.other_evaluation import OtherEvaluation

Hypotheses = list[tuple[int, str]]


@pytest.fixture(scope="module")
def valid(tone_shards: Path) -> Index:
    return read_index([str(tone_shards / "valid")])


@pytest.fixture
def page_of(valid: Index, tmp_path: Path) -> Callable[..., str]:
    """Writes a page and returns it, without its style and script."""

    def write(hypotheses: Hypotheses, metric: str = "wer", beside: Beside = NOTHING, index: Index = valid) -> str:
        found = break_down(index, hypotheses, metric, beside)
        file = tmp_path / "page.html"
        write_evaluation_page(str(file), "a <b> model", index, found, lambda: iter(hypotheses), beside)
        page = file.read_text("utf-8")
        Outline(page)
        return re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.DOTALL)

    return write


def text_of(page: str) -> str:
    return " ".join(html.unescape(re.sub("<[^>]+>", " ", page)).split())


def test_the_headline_says_what_the_metric_says(valid: Index, page_of: Callable[..., str]) -> None:
    hypotheses = spoilt(valid)
    text = text_of(page_of(hypotheses))
    counts = count_errors(*comparable(valid, hypotheses))
    found = break_down(valid, hypotheses, "wer")
    substitutions, deletions, insertions = counts.kinds("wer")
    words = counts.amounts.words
    assert f"Word error rate {counts.wer:.2%} WER, 95 % interval {found['wer_low']:.2%} to" in text
    assert f"Character error rate {counts.cer:.2%} CER, 95 % interval {found['cer_low']:.2%} to" in text
    errors = substitutions + deletions + insertions
    for name, count in (("Substitutions", substitutions), ("Deletions", deletions), ("Insertions", insertions)):
        assert f"{name} {count} {count / words:.2%} of {words:,} words, {count / errors:.1%} of all errors" in text
    assert f"{len(hypotheses)} utterances" in text and "damaged and left out: 1 utterance" in text


def test_all_utterances_can_be_read_and_listened_to(valid: Index, page_of: Callable[..., str]) -> None:
    hypotheses = spoilt(valid)
    page = page_of(hypotheses)
    table = page[page.index("data-searchable") :]
    rows = table[: table.index("</table>")].count("<tr>") - 1
    players = re.findall(r'preload="none"[^>]+data:audio/mpeg;base64,([\w+/=]+)', page)
    assert rows == len(players) == len(hypotheses)
    sound, rate = soundfile.read(BytesIO(base64.b64decode(players[0])))
    assert len(sound) / rate == pytest.approx(valid.num_samples[5] / 16_000, abs=0.11)  # the worst
    assert f"All utterances, {len(hypotheses)}, those with the most errors first." in text_of(page)
    first = re.findall(r'class="text"[^>]*><div>(.*?)</div>', page)[0]
    assert "<ins>x" in first and "<del>" in first


def test_of_many_utterances_the_page_says_which_it_shows(
    valid: Index, page_of: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_data, "LISTED", 10)
    hypotheses = spoilt(valid)
    page = page_of(hypotheses)
    assert page.count("<audio") == 10
    which = f"10 of {len(hypotheses)} utterances: the 5 with the most errors, then 5 drawn at random from all others"
    assert which in text_of(page)


def test_confusions_are_counted(valid: Index, page_of: Callable[..., str]) -> None:
    texts = valid.texts.to_pylist()
    hypotheses = [(number, text.replace(texts[0].split()[0], "wrongword")) for number, text in enumerate(texts)]
    page = page_of(hypotheses)
    times = sum(text.split().count(texts[0].split()[0]) for text in texts)
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", page[page.index("Words taken for others") :])
    assert [cell.strip() for cell in cells[:4]] == [texts[0].split()[0], "wrongword", str(times), "100.0%"]
    assert f"{times} substitutions, 1 different one." in text_of(page)
    assert "Confused characters" in page


def test_curves_and_bars_have_intervals(valid: Index, page_of: Callable[..., str]) -> None:
    hypotheses = spoilt(valid)
    page = page_of(hypotheses)
    text = text_of(page)
    assert "WER by length" in text and "WER by rate of speech" in text and "words a second" in text
    assert page.count('class="band fill0"') == 2
    found = break_down(valid, hypotheses, "wer")
    bars = sum(len(groups) for groups in found["by"].values())
    assert page.count('class="whisker"') == bars > 0
    for groups in found["by"].values():
        for name, rates in groups.items():
            low, high = 100 * rates["wer_low"], 100 * rates["wer_high"]
            assert f"{name.strip()} ({rates['words']:,} words) {100 * rates['wer']:.2f} {low:.2f} to {high:.2f}" in text


def test_the_page_shows_the_rate_that_decides(valid: Index, page_of: Callable[..., str]) -> None:
    text = text_of(page_of(spoilt(valid), "cer"))
    assert "CER by duration" in text and "character errors" in text and "characters a second" in text
    assert text.index("Character error rate") < text.index("Word error rate")
    assert "CER in %" in text and "WER in %" not in text and " characters, " in text


def test_two_models_are_side_by_side(valid: Index, page_of: Callable[..., str]) -> None:
    keys = valid.keys.to_pylist()
    others = [OtherEvaluation("a<i>.jsonl", dict(zip(keys, valid.texts.to_pylist(), strict=True)))]
    beside = Beside(english=lambda text: text.replace("a", ""), compared=others, seeds=others)
    hypotheses = spoilt(valid)
    page = page_of(hypotheses, beside=beside)
    text = text_of(page)
    found = break_down(valid, hypotheses, "wer", beside)
    [compared] = found["compared"]
    assert f"{found['english']['wer']:.2%}" in text and "Compared with a<i>.jsonl" in text and "<i>" not in page
    low, high = (100 * compared[f"wer_difference_{end}"] for end in ("low", "high"))
    assert f"{100 * compared['wer_difference']:+.2f} points 95 % interval {low:+.2f} to {high:+.2f}" in text
    assert "the other model is better" in text and "2 seeds: WER" in text
    assert f"this model {compared['wer']:.2%} (" in text and f"the other model {compared['other_wer']:.2%}" in text
    assert page.count('class="band fill1"') == 2  # both curves have both models
    assert compared["changed"][0]["key"] in text and "word errors there" in text


def test_hostile_texts_are_texts(valid: Index, page_of: Callable[..., str]) -> None:
    hostile = [
        "<script>alert(1)</script>",
        "\u202eabc",
        "half \ud800",
        "w" * 10_000,
        "</noscript><img src=x>",
        "\x00\x1b[",
    ]
    texts = [*hostile, *valid.texts.to_pylist()[len(hostile) :]]
    index = replace(
        valid, texts=pa.array([text.encode("utf-8", "replace").decode() for text in texts], pa.large_string())
    )
    other = OtherEvaluation("o.jsonl", {key: json.loads('"\\ud800 <b>"') for key in valid.keys.to_pylist()})
    page = page_of(list(enumerate(hostile)), beside=Beside(compared=[other]), index=index)
    assert not {"script", "img", "b<"} & set(Outline(page).tags)
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e\ud800]", page)


def test_one_utterance_makes_a_sensible_page(valid: Index, page_of: Callable[..., str]) -> None:
    text = text_of(page_of([(0, "wrong")], index=valid.take(np.array([0]))))
    assert "1 utterance, 0.00 hours" in text and "All utterances, 1," in text and "nan" not in text
    assert "Each point stands for 1 utterance of about the same value" in text


def test_a_reference_without_words(valid: Index, page_of: Callable[..., str]) -> None:
    index = replace(valid, texts=pa.array([""] * len(valid), pa.large_string()))
    page = page_of([(0, "one two"), (1, "")], index=index)
    text = text_of(page)
    assert "Insertions 2" in text and "nan" not in text and "Words recognised, but not said" in text


def test_a_page_that_cannot_be_written(valid: Index, tmp_path: Path) -> None:
    hypotheses = spoilt(valid)
    found = break_down(valid, hypotheses, "wer")
    with pytest.raises(CliError, match=r"--html .*nowhere/page\.html: No such file"):
        file = tmp_path / "nowhere" / "page.html"
        write_evaluation_page(str(file), "", valid, found, lambda: iter(hypotheses))
