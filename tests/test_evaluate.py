import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from asrscale.common.errors import CliError
from asrscale.evaluate import EvaluateOptions, run
from asrscale.model.building import build_recognizer
from asrscale.model.recognizer import Recognizer
from asrscale.speech.normalisation import TextRules

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return build_recognizer("tiny", "abc", seed=5)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "nowhere"], "missing flag --data"),
        (["--model", "nowhere", "--data", "nowhere"], "nowhere: no such folder"),
        (["--model", "nowhere", "--data", "SHARDS/valid"], "--model nowhere: no such folder"),
        (["--model", "nowhere", "--data", "SHARDS"], "give one of"),
        (
            ["--model", "nowhere", "--data", "SHARDS/valid,SHARDS/../shards/valid"],
            "to one file",
        ),
        (["--model", "MODEL", "--data", "SHARDS/valid", "--out", "SHARDS/valid/dataset.json"], "--out "),
        (["--model", "MODEL", "--data", "SHARDS/valid", "--html", "/proc/page.html"], "--html /proc"),
        (["--model", "MODEL", "--data", "SHARDS/valid", "--html", "SHARDS"], "is a folder: give a file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    flags: list[str], message: str, tone_shards: Path, tmp_path: Path, run_command: Run
) -> None:
    (tmp_path / "model").mkdir()  # without weights: what is wrong is found before they are read
    (tmp_path / "model" / "config.json").write_text("{}")
    words = [flag.replace("SHARDS", str(tone_shards)).replace("MODEL", str(tmp_path / "model")) for flag in flags]
    done = run_command(sys.executable, "-m", "asrscale.evaluate", *words)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and message in done.stderr, done.stderr


def test_a_model_without_a_vocabulary_cannot_transcribe(
    recognizer: Recognizer, tone_shards: Path, tmp_path: Path, run_command: Run
) -> None:
    recognizer.model.save_pretrained(tmp_path)
    done = run_command(sys.executable, "-m", "asrscale.evaluate", "--model", tmp_path, "--data", tone_shards / "valid")
    assert done.returncode == 2 and "has no vocabulary" in done.stderr


def test_the_table_is_printed_whatever_happens_to_files(
    recognizer: Recognizer, tone_shards: Path, tmp_path: Path, run_command: Run
) -> None:
    recognizer.save(tmp_path / "model")
    words = ["-m", "asrscale.evaluate", "--model", tmp_path / "model", "--data", tone_shards / "valid"]
    done = run_command("prlimit", "--fsize=100", sys.executable, *words)
    assert done.returncode == 2 and done.stderr.startswith("error: TMPDIR /"), done.stderr
    done = run_command("prlimit", "--fsize=2000", sys.executable, *words)  # as a disk that fills up meanwhile
    assert done.returncode == 2, done.stderr
    assert f"{tone_shards / 'valid'}  " in done.stdout and "WER" in done.stdout
    assert "File too large" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


def test_two_ranks_write_the_same_predictions_as_one(
    recognizer: Recognizer, tone_shards: Path, tmp_path: Path, run_command: Run
) -> None:
    recognizer.save(tmp_path / "model")
    words = ["-m", "asrscale.evaluate", "--model", tmp_path / "model", "--data", tone_shards / "valid"]
    words += ["--cache_dir", tmp_path / "cache"]
    for start, out in (([sys.executable], "one"), (["torchrun", "--standalone", "--nproc_per_node", 2], "two")):
        done = run_command(*start, *words, "--out", tmp_path / out)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("predictions and all rates") == 1, done.stdout
    assert list((tmp_path / "cache").glob("*.tar"))
    one, two = ((tmp_path / out / "shards-valid.jsonl").read_text() for out in ("one", "two"))
    assert one == two and len(one.splitlines()) == len([json.loads(line) for line in two.splitlines()])


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


def test_a_model_and_data_that_are_normalised_in_different_ways_are_said(
    tone_shards: Path, tmp_path: Path, run_command: Run
) -> None:
    model = build_recognizer("tiny", "abc", seed=5)
    model.record_text_rules(TextRules(language="tr"))
    model.save(tmp_path / "model")
    words = ["--model", tmp_path / "model", "--data", tone_shards / "valid"]
    done = run_command(sys.executable, "-m", "asrscale.evaluate", *words)
    assert done.returncode == 0, done.stderr
    assert "normalised as any language, those that the model was trained on as tr: some errors may be" in done.stderr


def test_two_models_and_seeds_are_compared_and_both_normalisers_shown(
    tone_recognizer: Recognizer, tone_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = (str(tone_shards / "valid"),)
    build_recognizer("tiny", "abcdefghijklmnop", seed=5).save(tmp_path / "one" / "model")
    tone_recognizer.save(tmp_path / "two" / "model")
    run(EvaluateOptions(model=str(tmp_path / "one" / "model"), data=data))
    capsys.readouterr()
    other = str(tmp_path / "one" / "eval" / "shards-valid.jsonl")
    options = EvaluateOptions(
        model=str(tmp_path / "two" / "model"),
        data=data,
        normalizer="english",
        metric="cer",
        compare=(other,),
        seeds=(other,),
        html=str(tmp_path / "page.html"),
    )
    run(options)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[3:] == ["CER", "WER", "sub", "del", "ins", "CER", "english", "WER", "english"]
    assert lines[1].split()[3:] == ["0.00%", "0.00%", "0", "0", "0", "0.00%", "0.00%"]
    assert "CER decides, by --metric" in lines
    found = json.loads((tmp_path / "two" / "eval" / "shards-valid.json").read_text())
    before = json.loads((tmp_path / "one" / "eval" / "shards-valid.json").read_text())
    [compared] = found["compared"]
    assert compared["other_wer"] == before["wer"] and compared["wer_difference"] == -before["wer"]
    assert compared["wer_p"] < 0.001 and found["seeds"]["cer"]["mean"] == before["cer"] / 2
    assert any(line.startswith(f"  compared with {other}: CER 0.00%, there {before['cer']:.2%}") for line in lines)
    assert "Whisper" in found["english"]["normaliser"] and found["damaged"] == before["damaged"] == []
    with pytest.raises(CliError, match="--compare and --seeds are about one data set"):
        run(EvaluateOptions(model="nowhere", data=(*data, str(tone_shards / "train")), compare=(other,)))
    with pytest.raises(CliError, match=r"--seeds other\.jsonl cannot be read"):
        run(EvaluateOptions(model="nowhere", data=data, seeds=("other.jsonl",)))
    with pytest.raises(CliError, match=r"--compare .* is of other utterances"):
        run(EvaluateOptions(model="nowhere", data=(str(tone_shards / "train"),), compare=(other,)))
