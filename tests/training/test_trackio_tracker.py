"""Trackio's database holds what was tracked; it is an extra, so this runs where it is installed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("trackio")

PROGRAM = """
import json, sys
from pathlib import Path
from asrscale.training.tracking import open_tracker

def track(**given):
    settings = {"general": {"seed": 1}}
    return open_tracker(Path(sys.argv[1]), project="speech", config=settings, trackers=["trackio"], **given)

with track(shares_texts=True) as tracker:
    tracker.log_predictions(1, [{"key": "a", "reference": "red lamp", "hypothesis": "red"}])
    tracker.log(1, {"train/loss": 0.5, "speed/rank_seconds": (0.1, 0.2)})
with track(resume_step=1) as tracker:
    tracker.log(2, {"train/loss": 0.25})

from trackio.sqlite_storage import SQLiteStorage
runs = SQLiteStorage.get_runs("speech")
print(json.dumps([runs, [SQLiteStorage.get_logs("speech", run) for run in runs]], default=str))
"""


def test_a_resumed_run_is_one_run_and_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # which trackio reads once
    monkeypatch.delenv("TRACKIO_SPACE_ID", raising=False)
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path / "run")], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    [line] = done.stdout.splitlines()
    [run], [rows] = json.loads(line)
    assert run == f"run-{(tmp_path / 'run' / 'trackio' / 'id.txt').read_text()}"
    losses = {row["step"]: row["train/loss"] for row in rows if "train/loss" in row}
    assert losses == {1: 0.5, 2: 0.25} and not any("speed/rank_seconds" in row for row in rows)
    assert any("red lamp" in str(row.get("valid/predictions")) for row in rows)
