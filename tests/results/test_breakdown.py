import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.hypotheses import spoilt

from asrscale.data.index import Index, read_index
from asrscale.results.breakdown import break_down
from asrscale.results.breakdown_text import format_breakdown
from asrscale.results.metrics import count_errors

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def valid(tone_shards: Path) -> Index:
    return read_index([str(tone_shards / "valid")])


def test_groups_add_up_to_the_whole(valid: Index) -> None:
    hypotheses = spoilt(valid)
    found = break_down(valid, hypotheses, "wer")
    texts = [valid.texts[i].as_py() for i, _ in hypotheses]
    counted = count_errors(texts, [text.lower() for _, text in hypotheses])
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
    worst = break_down(valid, spoilt(valid), "wer")["worst"]
    assert worst[0]["key"] == valid.keys[5].as_py() and "→" in worst[0]["aligned"]
    assert [one["word_edits"] for one in worst] == sorted((one["word_edits"] for one in worst), reverse=True)
    first_word = valid.texts[0].as_py().split()[0]
    aligned = {one["key"]: one["aligned"] for one in worst}
    assert aligned[valid.keys[0].as_py()].startswith(f"[{first_word}→]")
    assert aligned[valid.keys[4].as_py()] == valid.texts[4].as_py()


def test_each_value_of_a_column_of_the_source_is_a_group(
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
    # The key holds the row, so that the truth does not come from what is tested; every `uk` loses all its words.
    row_of = [int(key.split("-")[1]) - 2 for key in keys]
    hypotheses = [(i, "" if row_of[i] % 4 else texts[i]) for i in range(len(index))]
    found = break_down(index, hypotheses, "wer")
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
    damaged = break_down(index, hypotheses, "wer")
    assert damaged["wer"] == found["wer"] and damaged["by"]["accent"]["unknown"]["utterances"] > 15
    assert f"warning: {tar} " in capsys.readouterr().err
    assert "by accent: uk 100.00% (100.00% to 100.00%), unknown 0.00%" in shown and "and 19 more" in shown


def test_the_deciding_rate_chooses_and_aligns_the_worst(valid: Index) -> None:
    texts = dict(enumerate(valid.texts.to_pylist()))
    many_words = max(texts, key=lambda i: len(texts[i].split()))
    one_long_word = min(texts, key=lambda i: len(texts[i].split()))
    hypotheses = texts | {
        one_long_word: " ".join(["x" * 30, *texts[one_long_word].split()[1:]]),
        many_words: " ".join(f"{word[:-1]}0" for word in texts[many_words].split()),
    }
    found = {metric: break_down(valid, hypotheses.items(), metric) for metric in ("wer", "cer")}
    assert found["wer"]["metric"] == "wer" and found["cer"]["metric"] == "cer"
    assert found["wer"]["worst"][0]["key"] == valid.keys[many_words].as_py()
    worst = found["cer"]["worst"][0]
    assert worst["key"] == valid.keys[one_long_word].as_py() and worst["character_edits"] > 20 > worst["word_edits"]
    assert found["cer"]["worst"][1]["aligned"].count("→0]") == len(texts[many_words].split())
    assert format_breakdown(found["cer"]).startswith(f"CER {found['cer']['cer']:.2%} (")
