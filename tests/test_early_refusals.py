"""What is wrong with flags and folders is reported before torch is imported, which takes seconds."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

LARGE = re.compile(r"\| +(torch|transformers|deepspeed)$", re.MULTILINE)  # in what -X importtime writes


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["asrscale.plan", "--help"], 0, ""),
        (["asrscale.plan", "--gpus", "0"], 2, "--gpus 0: give 1 or more"),
        (["asrscale.plan", "--gpu", "none"], 2, "--gpu none: give the GiB"),
        (["asrscale.train", "--train", "{folder}", "--valid", "{folder}"], 2, "{folder}: no such folder"),
        (["asrscale.train", "--train", "{shards}/train", "--valid", "{folder}"], 2, "{folder}: no such folder"),
        (
            ["asrscale.train", "--train", "{shards}/train", "--valid", "{shards}/valid", "--augment", "noise={folder}"],
            2,
            "--augment noise={folder}: there is no such folder",
        ),
    ],
    ids=["help", "gpus", "gpu", "train", "valid", "augment"],
)
def test_no_large_library_is_imported_for_a_refusal(
    words: list[str], code: int, message: str, tone_shards: Path, tmp_path: Path, run_command: Run
) -> None:
    places = {"shards": tone_shards, "folder": tmp_path / "nowhere"}
    done = run_command(sys.executable, "-X", "importtime", "-m", *(word.format(**places) for word in words))
    assert done.returncode == code, done.stdout + done.stderr
    assert message.format(**places) in done.stderr
    assert re.search(r"\| +asrscale.common.cli$", done.stderr, re.MULTILINE)
    assert not LARGE.search(done.stderr)
