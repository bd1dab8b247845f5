"""The command that writes ONNX."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
from conftest import REPOSITORY, speak

from asrscale.common.errors import CliError
from asrscale.export import ExportOptions, run
from asrscale.model.recognizer import Recognizer

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_the_files_make_the_errors_of_the_model(
    tone_recognizer: Recognizer, tone_shards: Path, tmp_path: Path, run_command: Run
) -> None:
    model = tmp_path / "model"
    tone_recognizer.save(model)
    done = run_command(
        sys.executable, "-m", "asrscale.export", "--model", model, "--int8", "--data", tone_shards / "valid"
    )
    assert done.returncode == 0, done.stderr
    rates = {line.split()[0]: line.split()[3:5] for line in done.stdout.splitlines() if "%" in line}
    assert list(rates) == ["torch", "model.onnx", "model.int8.onnx"]
    assert rates["torch"] == rates["model.onnx"]
    assert re.search(r"log-probabilities differ from torch's by at most \d\.\de-0[5-9]", done.stdout)
    assert sorted(path.name for path in (model / "onnx").iterdir()) == [
        "config.json", "model.int8.onnx", "model.int8.onnx.data", "model.onnx", "model.onnx.data",
        "sherpa-model.int8.onnx", "sherpa-model.onnx", "tokens.txt", "vocab.txt",
    ]  # fmt: skip

    # And as the guide runs it.
    soundfile.write(tmp_path / "speech.wav", speak("big dog", 1), 16_000)
    guide = (REPOSITORY / "docs/guide/onnx.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    done = run_command(sys.executable, "-c", code.replace("runs/cv/model", str(model)), cwd=tmp_path)
    assert done.stdout == "big dog\n", done.stderr


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(model="someone/model"), "--model someone/model is on the hub: say by --out where to write"),
        (dict(model="m", out="o", data="nowhere"), "nowhere"),
        (dict(model="m", memory_cap_seconds=0.0), "--memory_cap_seconds must be above 0"),
    ],
)
def test_what_cannot_be_is_said_before_any_work(given: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(CliError, match=re.escape(message)):
        run(ExportOptions(**given))


def test_a_place_that_cannot_be_written_to_is_named(tone_recognizer: Recognizer, tmp_path: Path) -> None:
    tone_recognizer.save(tmp_path / "model")
    (tmp_path / "file").touch()
    with pytest.raises(CliError, match=r"^--out .*file/onnx cannot be written: (Not a directory|File exists)"):
        run(ExportOptions(model=str(tmp_path / "model"), out=str(tmp_path / "file" / "onnx")))
