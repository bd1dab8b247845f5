"""The command that speaks the demo's corpus."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.demo import needs_espeak


@pytest.mark.parametrize("flags", [["--utterances", "19"], ["--workers", "0"], ["--utterance", "100"]])
def test_bad_flags_exit_with_2_and_one_line(tmp_path: Path, flags: list[str]) -> None:
    out = tmp_path / "corpus"
    command = [sys.executable, "-m", "asrscale.demo", "--out", str(out), *flags]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert flags[0] in done.stderr
    assert list(tmp_path.iterdir()) == []


@needs_espeak
def test_the_command_makes_a_corpus_and_prints_the_next_command(tmp_path: Path) -> None:
    out = tmp_path / "new" / "corpus"
    command = [sys.executable, "-m", "asrscale.demo", "--out", str(out), "--utterances", "20", "--seed", "3"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    assert f"32 clips, 20 voices in {out}" in done.stdout
    assert (
        f"python -m asrscale.shard --csv train={out}/cv-valid-train.csv,valid={out}/cv-valid-dev.csv,"
        f"test={out}/cv-valid-test.csv,voices={out}/cv-valid-voices.csv --audio_root {out} --out data/demo/shards"
    ) in done.stdout
    assert "speaking: 32/32 clips" in done.stderr
    assert json.loads((out / "corpus.json").read_text()) == {"corpus_version": 1, "seed": 3, "utterances": 20}
