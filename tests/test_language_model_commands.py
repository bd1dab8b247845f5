import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
from conftest import speak
from helpers.disturbed import disturb
from transformers import AutoModelForCTC

import asrscale
from asrscale.common.errors import CliError
from asrscale.decoding.options import DecodingOptions
from asrscale.evaluate import EvaluateOptions, run
from asrscale.lm import LmOptions
from asrscale.lm import run as build_lm
from asrscale.model.recognizer import Recognizer
from asrscale.results import tuning
from asrscale.speech.pcm import SAMPLE_RATE_HZ
from asrscale.transcribe import TranscribeOptions
from asrscale.transcribe import run as transcribe

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def lm(tone_shards: Path, tmp_path: Path) -> str:
    build_lm(LmOptions(out=str(tmp_path / "lm"), data=(str(tone_shards / "train"),), order=2))
    return str(tmp_path / "lm")


def test_weights_are_tuned_and_kept_with_the_model(
    lm: str,
    tone_recognizer: Recognizer,
    tone_shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(tuning, "LM_WEIGHTS", (0.5,))
    monkeypatch.setattr(tuning, "WORD_BONUSES", (0.0,))
    folder, valid = tmp_path / "model", str(tone_shards / "valid")
    tone_recognizer.save(folder)
    run(EvaluateOptions(model=str(folder), data=(valid,), tune=True, decoding=DecodingOptions(lm=lm)))
    assert "tuned on" in capsys.readouterr().out
    tuned = json.loads((tmp_path / "lm" / "decoding.json").read_text())
    assert tuned["tuned"] == tuned["greedy"] == 0 and tuned["data"] == valid
    assert json.loads((folder / "asrscale_lm" / "decoding.json").read_text()) == tuned
    assert json.loads((tmp_path / "eval" / "shards-valid.json").read_text())["wer"] == 0
    AutoModelForCTC.from_pretrained(folder)
    model = asrscale.load_model(folder).with_language_model(folder / "asrscale_lm")
    assert model.decoder is not None and model.decoder.scorer.weights.lm_weight == tuned["lm_weight"]
    assert model.evaluate(valid, show_progress=False).wer == 0


def test_tuning_without_a_language_model_calibrates_the_model(
    tone_recognizer: Recognizer, tone_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One whose weights are disturbed, so that there are wrong words; a stock folder all the same."""
    folder, valid = tmp_path / "model", str(tone_shards / "train")
    disturb(tone_recognizer, folder)
    options = EvaluateOptions(model=str(folder), data=(valid,), html=str(tmp_path / "page.html"))
    run(options)
    printed_before = capsys.readouterr().out
    before = json.loads((tmp_path / "eval" / "shards-train.json").read_text())["confidence"]
    run(replace(options, tune=True))
    printed = capsys.readouterr().out
    kept = json.loads((folder / "asrscale_confidence.json").read_text())
    after = json.loads((tmp_path / "eval" / "shards-train.json").read_text())["confidence"]
    assert f"temperature {kept['temperature']:g} of the best paths; kept in {folder}/asrscale_conf" in printed
    assert (
        "calibrated by" not in printed and "cannot be" not in printed and "not calibrated by --tune" in printed_before
    )
    assert before["temperature"] == 1 and after["temperature"] == kept["temperature"] != 1
    assert after["calibration_error_uncalibrated"] == before["calibration_error"]
    assert (after["words"], after["right"]) == (before["words"], before["right"])
    assert "without calibration" in (tmp_path / "page.html").read_text()
    AutoModelForCTC.from_pretrained(folder)

    loaded = asrscale.load_model(folder)
    assert loaded.recognizer.temperature == kept["temperature"]
    of_api = loaded.evaluate(valid, show_progress=False).predictions
    rows = [json.loads(line) for line in (tmp_path / "eval" / "shards-train.jsonl").read_text().splitlines()]
    assert [list(one.word_confidences) for one in of_api] == [row["word_confidences"] for row in rows]
    assert all(len(row["word_confidences"]) == len(row["hypothesis"].split()) for row in rows)
    (folder / "asrscale_confidence.json").write_text('{"temperature": 0}')
    with pytest.raises(CliError, match=r"asrscale_confidence\.json is damaged"):
        asrscale.load_model(folder)


def test_the_best_texts_of_evaluation_and_transcription(
    tone_recognizer: Recognizer, tone_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tone_recognizer.save(tmp_path / "model")
    given = dict(model=str(tmp_path / "model"), decoding=DecodingOptions(nbest=3))
    run(EvaluateOptions(data=(str(tone_shards / "valid"),), **given))
    assert "the best of 3 texts: WER 0.00%" in capsys.readouterr().out
    found = json.loads((tmp_path / "eval" / "shards-valid.json").read_text())
    assert found["oracle"] == {"nbest": 3, "wer": 0.0, "cer": 0.0}
    for line in (tmp_path / "eval" / "shards-valid.jsonl").read_text().splitlines():
        row = json.loads(line)
        scores = [one["score"] for one in row["alternatives"]]
        assert row["alternatives"][0]["text"] == row["hypothesis"] and len(scores) == 3
        assert scores == sorted(scores, reverse=True)

    soundfile.write(tmp_path / "a.wav", speak("big dog", 1), SAMPLE_RATE_HZ)
    transcribe(TranscribeOptions(audio=(str(tmp_path / "a.wav"),), format="json", **given))
    row = json.loads(capsys.readouterr().out)
    assert row["alternatives"][0]["text"] == row["text"] == "big dog" and len(row["alternatives"]) == 3
    assert [0.9 < word["confidence"] <= 1 for word in row["words"]] == [True, True]


@pytest.mark.parametrize(
    "flags", [{"nbest": 2, "beam": 4}, pytest.param({"hot_words": "names.txt"}, marks=pytest.mark.slow)]
)
def test_a_search_without_a_language_model_is_calibrated_by_its_own_temperature(
    flags: dict[str, Any],
    tone_recognizer: Recognizer,
    tone_shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("names.txt").write_text("big dog\n")
    disturb(tone_recognizer, Path("model"))
    data = str(tone_shards / "train")
    run(EvaluateOptions(model="model", data=(data,), tune=True, decoding=DecodingOptions(**flags)))
    printed = capsys.readouterr().out
    kept = json.loads(Path("model/asrscale_confidence.json").read_text())
    of_search = kept["search"]["temperature"]
    assert of_search not in (1, kept["temperature"])
    assert f"{kept['temperature']:g} of the best paths, temperature {of_search:g} of a search without a l" in printed
    found = json.loads(Path("eval/shards-train.json").read_text())["confidence"]
    assert found["temperature"] == of_search
    assert found["calibration_error"] < found["calibration_error_uncalibrated"]

    loaded = asrscale.load_model("model").with_language_model(**flags)
    assert loaded.decoder is not None and loaded.decoder.temperature == of_search
    soundfile.write("a.wav", speak("big dog", 1), SAMPLE_RATE_HZ)
    transcribe(TranscribeOptions("model", ("a.wav",), format="json", decoding=DecodingOptions(**flags)))
    assert "calibrated" not in capsys.readouterr().err
    Path("model/asrscale_confidence.json").unlink()
    transcribe(TranscribeOptions("model", ("a.wav",), format="json"))
    assert "confidences are not calibrated: asrscale.evaluate --tune" in capsys.readouterr().err
    transcribe(TranscribeOptions("model", ("a.wav",)))
    assert "calibrated" not in capsys.readouterr().err


@pytest.mark.slow
def test_two_ranks_tune_to_what_one_finds(
    lm: str, tone_recognizer: Recognizer, tone_shards: Path, tmp_path: Path, run_command: Run
) -> None:
    """All files and all that is printed, of a model that is wrong often enough to have temperatures."""
    disturb(tone_recognizer, tmp_path / "model", amount=1.1)
    found = {}
    for ranks, start in ((1, [sys.executable]), (2, ["torchrun", "--standalone", "--nproc_per_node", 2])):
        folder = tmp_path / f"{ranks}"
        shutil.copytree(lm, folder / "lm")
        shutil.copytree(tmp_path / "model", folder / "model")
        places = ["--model", folder / "model", "--lm", folder / "lm", "--html", folder / "page.html"]
        command = ["-m", "asrscale.evaluate", *places, "--data", tone_shards / "train", "--tune"]
        done = run_command(*start, *command)
        assert done.returncode == 0, done.stderr
        files = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        named = str(folder).encode()
        found[ranks] = {path: content.replace(named, b"") for path, content in files.items()}
        found[ranks][Path("stdout")] = done.stdout.encode().replace(named, b"")
    assert found[1].keys() == found[2].keys()
    assert [path for path in found[1] if found[1][path] != found[2][path]] == []
    kept = {"eval/shards-train.jsonl", "model/asrscale_confidence.json", "model/asrscale_lm/decoding.json", "page.html"}
    assert kept < {str(path) for path in found[1]}
    tuned = json.loads(found[1][Path("lm/decoding.json")])
    assert tuned["temperature"] != 1 and 0 < tuned["tuned"] < tuned["greedy"]
