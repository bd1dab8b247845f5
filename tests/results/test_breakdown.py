import base64
import json
import re
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asrscale.common.errors import CliError
from asrscale.data.index import Index, read_index
from asrscale.evaluate import EvaluateOptions, run
from asrscale.model.recognizer import Recognizer
from asrscale.results.breakdown import MIN_SPEAKERS, _rates, break_down, format_breakdown
from asrscale.results.evaluation_page import write_evaluation_page
from asrscale.results.metrics import count_errors

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def valid(tone_shards: Path) -> Index:
    return read_index([str(tone_shards / "valid")])


def spoilt(index: Index) -> list[tuple[int, str]]:
    """Hypotheses that are right but for a lost first word in every third, and one that is all wrong."""
    texts = {i: text.upper() for i, text in enumerate(index.texts.to_pylist()) if i != 1}  # 1: as if damaged
    texts |= {i: " ".join(texts[i].split()[1:]) for i in texts if i % 3 == 0} | {5: "x y z x y z x y z"}
    return list(texts.items())


def test_groups_add_up_to_the_whole(valid: Index) -> None:
    said = spoilt(valid)
    found = break_down(valid, said)
    texts = [valid.texts[i].as_py() for i, _ in said]
    counted = count_errors(texts, [text.lower() for _, text in said])
    assert (found["wer"], found["cer"]) == (counted.wer, counted.cer) and found["utterances"] == len(valid) - 1
    assert found["wer_low"] < found["wer"] < found["wer_high"] and found["cer_low"] < found["cer"] < found["cer_high"]
    assert list(found["by"]) == ["duration"]  # the corpus names one accent, one vote and no speaker
    groups = found["by"]["duration"]
    assert list(groups) == [" 0 to 1 s", " 1 to 2 s"] == sorted(groups)
    assert sum(group["words"] for group in groups.values()) == found["words"] == counted.amounts[1]
    edits = [group["wer"] * group["words"] for group in groups.values()]
    assert sum(edits) == pytest.approx(counted.amounts[0])
    assert "lower_case" in found["normaliser"] and found["resampled"] == "utterances"


def test_the_worst_comes_first_with_its_words_aligned(valid: Index) -> None:
    worst = break_down(valid, spoilt(valid))["worst"]
    assert worst[0]["key"] == valid.keys[5].as_py() and "→" in worst[0]["aligned"]
    assert [one["word_edits"] for one in worst] == sorted((one["word_edits"] for one in worst), reverse=True)
    first_word = valid.texts[0].as_py().split()[0]
    aligned = {one["key"]: one["aligned"] for one in worst}
    assert aligned[valid.keys[0].as_py()].startswith(f"[{first_word}→]")
    assert aligned[valid.keys[4].as_py()] == valid.texts[4].as_py()


def test_what_the_source_said_of_an_utterance_is_a_group(
    tone_shards: Path, tmp_path: Path, run_command: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = tone_shards.parent / "corpus"
    rows = (corpus / "corpus.csv").read_text().splitlines()[1:41]
    lines = [
        ",".join([name, text, str(n % 2), "uk" if n % 4 else "", f"s{n % 25}", "female" if n % 3 else "male"])
        for n, (name, text, _, _) in enumerate(row.split(",") for row in rows)
    ]
    (tmp_path / "c.csv").write_text("\n".join(["filename,text,up_votes,accent,client_id,gender", *lines]))
    words = ["--csv", f"all={tmp_path / 'c.csv'}", "--audio_root", corpus, "--out", tmp_path / "out"]
    built = run_command(sys.executable, "-m", "asrscale.shard", *words, "--shard_utterances", 15)
    assert built.returncode == 0, built.stderr
    index = read_index([str(tmp_path / "out" / "all")])
    keys, texts = index.keys.to_pylist(), index.texts.to_pylist()
    # The key tells the row, so that the truth is known without what is tested; every `uk` loses all its words.
    row_of = [int(key.split("-")[1]) - 2 for key in keys]
    said = [(i, "" if row_of[i] % 4 else texts[i]) for i in range(len(index))]
    found = break_down(index, said)
    assert list(found["by"]) == ["duration", "speaker", "accent", "gender", "up_votes"]
    accent = found["by"]["accent"]
    assert {value: (group["utterances"], group["wer"]) for value, group in accent.items()} == {
        "uk": (30, 1.0), "unknown": (10, 0.0),
    }  # fmt: skip
    assert found["resampled"] == "speakers" and len(found["by"]["speaker"]) == 25
    assert found["by"]["up_votes"]["1"]["utterances"] == 20
    shown = format_breakdown(found)
    tar = Path(index.shards[0])
    tar.write_bytes(tar.read_bytes().replace(b'"accent"', b"\"accent'", 1))
    damaged = break_down(index, said)
    assert damaged["wer"] == found["wer"] and damaged["by"]["accent"]["unknown"]["utterances"] > 15
    assert f"warning: {tar} " in capsys.readouterr().err
    assert "by accent: uk 100.00% (100.00% to 100.00%), unknown 0.00%" in shown and "and 19 more" in shown


def counts(rng: np.random.Generator, speakers: int, utterances: int, spread: float) -> np.ndarray:
    """Ten words an utterance, of which each speaker gets a share of their own wrong, about 0.2."""
    shares = np.clip(rng.normal(0.2, spread, speakers), 0, 1).repeat(utterances)
    edits = rng.binomial(10, shares)
    return np.stack([edits, np.full(len(edits), 10), edits, np.full(len(edits), 10)], axis=1)


@pytest.mark.parametrize(("known", "least", "most"), [(True, 0.88, 0.99), (False, 0.3, 0.7)])
def test_intervals_hold_where_speakers_err_alike_only_if_speakers_are_resampled(
    known: bool, least: float, most: float
) -> None:
    """Of 200 corpora of 30 speakers: a 95 % interval must miss the true rate rarely."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(200):
        amounts = counts(rng, 30, 20, spread=0.08)
        names = np.arange(30).repeat(20) if known else np.full(600, -1)
        rates = _rates(amounts, names)
        assert rates["resampled"] == ("speakers" if known else "utterances")
        hits += rates["wer_low"] <= 0.2 <= rates["wer_high"]
    assert least < hits / 200 < most


def test_few_speakers_are_not_resampled() -> None:
    amounts = counts(np.random.default_rng(0), MIN_SPEAKERS, 2, spread=0.1)
    names = np.arange(MIN_SPEAKERS).repeat(2)
    assert _rates(amounts, names)["resampled"] == "speakers"
    assert _rates(amounts[2:], names[2:])["resampled"] == "utterances"
    assert _rates(amounts, np.append(names[:-1], -1))["resampled"] == "utterances"


def test_the_page_has_rates_words_and_sound(valid: Index, tmp_path: Path) -> None:
    found = break_down(valid, sorted((dict(spoilt(valid)) | {7: "<script>alert(1)</script>"}).items()))
    write_evaluation_page(str(tmp_path / "page.html"), "a <b> model", valid, found)
    page = (tmp_path / "page.html").read_text()
    assert "a &lt;b&gt; model" in page and "<script" not in page and "WER % by duration" in page
    assert f"{found['wer']:.2%}" in page and "http" not in re.sub(r"base64,[\w+/=]+", "", page)
    players = re.findall(r"data:audio/\w+;base64,([\w+/=]+)", page)
    assert len(players) == 9
    sound, rate = soundfile.read(BytesIO(base64.b64decode(players[0])))
    assert len(sound) / rate == pytest.approx(valid.num_samples[5] / 16_000, abs=0.1)
    with pytest.raises(CliError, match=r"--html .*nowhere/page\.html: No such file"):
        write_evaluation_page(str(tmp_path / "nowhere" / "page.html"), "", valid, found)


def test_the_command_writes_all_of_it(
    tone_recognizer: Recognizer, tone_shards: Path, tmp_path: Path, run_command: Run
) -> None:
    tone_recognizer.save(tmp_path / "model")
    words = ["--model", tmp_path / "model", "--data", tone_shards / "valid", "--html", tmp_path / "page.html"]
    done = run_command(sys.executable, "-m", "asrscale.evaluate", *words)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "eval" / "shards-valid.json").read_text())
    assert found["wer"] == 0 and found["data"] == str(tone_shards / "valid") and found["by"]["duration"]
    assert "WER 0.00% (0.00% to 0.00%)" in done.stdout and "by duration" in done.stdout
    assert (tmp_path / "page.html").stat().st_size < 1_000_000
    both = (str(tone_shards / "valid"), str(tone_shards / "train"))
    with pytest.raises(CliError, match="--html is a page of one data set"):
        run(EvaluateOptions(model="nowhere", data=both, html="page.html"))
