import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoModelForCTC

import asrscale
from asrscale.common.errors import CliError
from asrscale.decoding.options import DecodingOptions
from asrscale.evaluate import EvaluateOptions, run
from asrscale.lm import LmOptions
from asrscale.lm import run as build_lm
from asrscale.model.recognizer import Recognizer
from asrscale.results import tuning

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


def test_tuning_needs_a_language_model(tone_recognizer: Recognizer, tone_shards: Path, tmp_path: Path) -> None:
    tone_recognizer.save(tmp_path / "model")
    with pytest.raises(CliError, match="give --lm"):
        run(EvaluateOptions(model=str(tmp_path / "model"), data=(str(tone_shards / "valid"),), tune=True))


@pytest.mark.slow
def test_two_ranks_find_what_one_finds(
    lm: str, tone_recognizer: Recognizer, tone_shards: Path, tmp_path: Path, run_command: Run
) -> None:
    tone_recognizer.save(tmp_path / "model")
    words = ["-m", "asrscale.evaluate", "--model", tmp_path / "model", "--data", tone_shards / "valid", "--lm", lm]
    for start, out in (([sys.executable], "one"), (["torchrun", "--standalone", "--nproc_per_node", 2], "two")):
        done = run_command(*start, *words, "--out", tmp_path / out, "--tune")
        assert done.returncode == 0, done.stderr
    one, two = ((tmp_path / out / "shards-valid.jsonl").read_text() for out in ("one", "two"))
    assert one == two
