import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asrscale.common.atomic_files import read_jsonl
from asrscale.common.errors import CliError
from asrscale.training.metrics_plot import read_metrics
from asrscale.training.tracking import check_trackers, open_tracker


@pytest.fixture(autouse=True)
def no_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test may find a person's W&B login, nor reach a server."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # discard port: refused at once
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name.lower()))


def tracker(run_folder: Path, wandb_mode: Any = "off", **options: Any) -> Any:
    return open_tracker(run_folder, project="test", config={"seed": 1}, wandb_mode=wandb_mode, **options)


def wandb_runs(run_folder: Path) -> list[str]:
    """The W&B ids of the offline runs in the folder."""
    return [path.stem.removeprefix("run-") for path in (run_folder / "wandb").glob("offline-run-*/run-*.wandb")]


def test_every_line_is_valid_json_with_step_and_time(tmp_path: Path) -> None:
    before = time.time()
    with tracker(tmp_path / "run") as opened:
        opened.log(1, {"train/loss": np.float32(0.5), "train/padding": math.nan, "train/gradient_norm": math.inf})
        opened.log(2, {"train/loss": 3, "valid/wer": None})
        lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()  # while the run still goes on

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    first, second = (json.loads(line, parse_constant=refuse) for line in lines)
    assert before - 1 <= first.pop("time") <= second.pop("time") <= time.time() + 1
    assert first == {"step": 1, "train/loss": 0.5, "train/padding": None, "train/gradient_norm": None}
    assert second == {"step": 2, "train/loss": 3, "valid/wer": None}
    assert not (tmp_path / "run" / "wandb").exists()


def test_resume_drops_what_will_be_measured_again(tmp_path: Path) -> None:
    with tracker(tmp_path) as opened:
        for step in (10, 20, 30):
            opened.log(step, {"train/loss": step})
    with tracker(tmp_path, resume_step=20) as opened:
        opened.log(30, {"train/loss": -1})
    assert [(row["step"], row["train/loss"]) for row in read_metrics(tmp_path)] == [(10, 10), (20, 20), (30, -1)]


def test_a_line_torn_by_a_kill_is_dropped_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with tracker(tmp_path) as opened:
        opened.log(10, {"train/loss": 1.0})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 15, "train/lo')
    assert [row["step"] for row in read_metrics(tmp_path)] == [10]
    with tracker(tmp_path, resume_step=20) as opened:
        opened.log(30, {"train/loss": 0.5})
    assert [row["step"] for row in read_metrics(tmp_path)] == [10, 30]
    assert "1 torn line(s) dropped" in capsys.readouterr().err


def test_a_last_line_that_lost_only_its_end_is_kept(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 10, "train/loss": 1.0}')
    with tracker(tmp_path, resume_step=10) as opened:
        opened.log(20, {"train/loss": 0.5})
    assert [row["step"] for row in read_metrics(tmp_path)] == [10, 20]


def test_a_new_run_starts_a_new_record(tmp_path: Path) -> None:
    for _ in range(2):
        with tracker(tmp_path) as opened:
            opened.log(0, {"valid/wer": 1.0})
    assert len(read_metrics(tmp_path)) == 1


def test_a_tracker_that_is_not_enabled_leaves_no_trace(tmp_path: Path) -> None:
    with tracker(tmp_path / "run", "online", enabled=False) as opened:
        opened.log(1, {"train/loss": 1.0})
        opened.log_predictions(1, [{"key": "a"}])
    assert not (tmp_path / "run").exists()


def test_offline_wandb_is_quiet_and_keeps_its_id_over_a_resume(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"key": "a", "reference": "red lamp", "hypothesis": "red"},
        {"key": "b", "reference": "é", "hypothesis": ""},
    ]
    with tracker(tmp_path, "offline", shares_texts=True) as opened:
        opened.log(1, {"train/loss": 1.0, "train/padding": math.nan, "speed/rank_seconds": (0.1, 0.25)})
        opened.log_predictions(1, rows)
    with tracker(tmp_path, "auto", resume_step=1) as opened:
        opened.log(2, {"train/loss": 0.5})
    first, second = wandb_runs(tmp_path)
    assert first == second == (tmp_path / "wandb" / "id.txt").read_text()
    assert list(tmp_path.glob("wandb/offline-run-*/files/media/table/valid/predictions_1_*.json"))
    assert read_metrics(tmp_path)[0]["speed/rank_seconds"] == [0.1, 0.25]
    written = (tmp_path / "eval" / "step-00000001.jsonl").read_text()
    assert [json.loads(line) for line in written.splitlines()] == rows
    with tracker(tmp_path, "offline"):
        pass
    assert set(wandb_runs(tmp_path)) == {first, (tmp_path / "wandb" / "id.txt").read_text()}
    assert (tmp_path / "wandb" / "id.txt").read_text() != first  # a new run, not a resumed one
    assert capfd.readouterr() == ("", "")


def test_wandb_learns_nothing_of_the_machine_and_no_transcripts_unless_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["train", "--run", "c4n4ry"])
    monkeypatch.setenv("USER", "c4n4ry-ann")
    monkeypatch.setattr("platform.node", lambda: "c4n4ry-node")
    with tracker(tmp_path, "offline") as opened:
        opened.log_predictions(1, [{"key": "a", "reference": "c4n4ry", "hypothesis": "red"}])
    assert "c4n4ry" in (tmp_path / "eval/step-00000001.jsonl").read_text()  # it is on this machine
    sent = [path for path in tmp_path.glob("wandb/offline-run-*/**/*") if path.is_file() and path.suffix != ".log"]
    assert any(path.suffix == ".wandb" for path in sent)
    unwanted = (b"c4n4ry", socket.gethostname().encode() + b'"', sys.executable.encode(), os.getcwd().encode())
    for path in sent:
        assert not [word for word in unwanted if word in path.read_bytes()], path


def test_the_summary_of_wandb_has_the_best_rates_and_not_the_last(tmp_path: Path) -> None:
    import wandb

    with tracker(tmp_path, "offline", lowest=("valid/cer", "valid/wer")) as opened:
        for step, rate in enumerate([0.5, 0.2, 0.3]):
            opened.log(step, {"valid/cer": rate, "valid/wer": 2 * rate, "valid/loss": rate})
        opened.log(3, {"train/loss": 1.0, "speed/rank_seconds": (0.1, 0.2)})
        opened.log(4, {"train/loss": 1.0})  # wandb takes a step in when the next one begins
        summary = dict(wandb.run.summary)
    assert summary["valid/cer"]["min"] == 0.2 and summary["valid/wer"]["min"] == 0.4 and summary["valid/loss"] == 0.3
    assert "train/loss" in summary and "speed/rank_seconds" not in summary  # several numbers make no curve


def test_online_without_login_is_one_line_and_leaves_the_record_alone(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 10}\n')
    with pytest.raises(CliError, match="wandb login") as caught, tracker(tmp_path, "online"):
        pass
    assert "\n" not in str(caught.value)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 10}\n'


def test_online_without_a_server_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr("asrscale.training.wandb_tracker.START_PATIENCE_SECONDS", 1.0)
    with pytest.raises(CliError, match="choose --wandb auto") as caught, tracker(tmp_path, "online"):
        pass
    assert "\n" not in str(caught.value)


def test_auto_without_a_server_goes_on_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr("asrscale.training.wandb_tracker.START_PATIENCE_SECONDS", 1.0)
    with tracker(tmp_path, "auto") as opened:
        opened.log(1, {"train/loss": 1.0})
    assert len(wandb_runs(tmp_path)) == 1
    warnings = capfd.readouterr().err.splitlines()
    assert len(warnings) == 1
    assert warnings[0].startswith("warning: W&B failed to start online")


@pytest.mark.parametrize("name", ["MODE", "BASE_URL", "SILENT", "RESUME", "RUN_ID", "CONSOLE"])
def test_an_empty_variable_asks_for_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"WANDB_{name}", "")
    with tracker(tmp_path, "auto") as opened:
        opened.log(1, {"train/loss": 1.0})
    assert len(wandb_runs(tmp_path)) == 1 and capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("mode", "runs"), [("offline", 1), ("dryrun", 1), ("disabled", 0)])
def test_where_the_environment_says_so_auto_sends_nothing(
    mode: str, runs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)  # logged in: without a mode, auto would be online
    monkeypatch.setenv("WANDB_MODE", mode)
    with tracker(tmp_path, "auto") as opened:
        opened.log(1, {"train/loss": 1.0})
    assert len(wandb_runs(tmp_path)) == runs and capfd.readouterr() == ("", "")


def test_the_flag_that_insists_wins_over_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(CliError, match="no login"), tracker(tmp_path, "online"):
        pass


def test_a_variable_that_wandb_refuses_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    with tracker(tmp_path, "offline") as opened:
        opened.log(1, {"train/loss": 1.0})
    [warning] = capfd.readouterr().err.splitlines()
    assert "mode" in warning and "'sometimes'" in warning


KILLED_SERVICE = """
import os, signal, sys, time
from pathlib import Path
from asrscale.training.tracking import check_trackers, open_tracker

def service():
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
        except OSError:
            continue
        is_service = "Name:\\twandb-core\\n" in text and f"PPid:\\t{os.getpid()}\\n" in text
        if is_service and "State:\\tZ" not in text:
            return int(status.parent.name)

with open_tracker(Path(sys.argv[1]), project="test", config={}, wandb_mode="offline") as tracker:
    tracker.log(1, {"train/loss": 1.0})
    os.kill(service(), signal.SIGTERM)
    while service() is not None:
        time.sleep(0.01)
    for step in range(2, 12):
        tracker.log(step, {"train/loss": 1.0})
"""


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds the service through /proc")
def test_a_run_outlives_its_wandb_service(tmp_path: Path) -> None:
    """SLURM's SIGTERM reaches every process of a job, wandb's service too."""
    done = subprocess.run([sys.executable, "-c", KILLED_SERVICE, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == ["warning: W&B stopped (Connection lost); metrics.jsonl goes on"]
    assert [row["step"] for row in read_metrics(tmp_path)] == list(range(1, 12))


def test_a_failing_run_keeps_its_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), tracker(tmp_path, "offline") as opened:
        opened.log(1, {"train/loss": 1 / 0})


def test_a_killed_run_loses_no_line(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from asrscale.training.tracking import open_tracker\n"
        "with open_tracker(Path(sys.argv[1]), project='p', config={}, wandb_mode='off') as tracker:\n"
        "    for step in range(100): tracker.log(step, {'train/loss': 1.0})\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)])
    assert done.returncode == -signal.SIGKILL
    assert len(read_metrics(tmp_path)) == 100


def test_an_evaluation_that_a_kill_made_worthless_is_recorded_once(tmp_path: Path) -> None:
    settings = dict(project="p", config={}, wandb_mode="off")
    with open_tracker(tmp_path, **settings) as tracker:
        for step in (2, 4):
            tracker.log(step, {"train/loss": 1.0})
            tracker.log(step, {"valid/wer": 0.5})
    # The checkpoint of step 4 was saved before its evaluation, which is made again.
    with open_tracker(tmp_path, **settings, resume_step=4, evaluated_step=2) as tracker:
        tracker.log(4, {"valid/wer": 0.5})
    rows = read_jsonl(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows if "train/loss" in row] == [2, 4]
    assert [row["step"] for row in rows if "valid/wer" in row] == [2, 4]


def test_a_tracker_that_cannot_start_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tensorboard").write_text("in the way")
    with tracker(tmp_path, "offline", trackers=["tensorboard", "wandb"]) as opened:
        opened.log(1, {"train/loss": 0.5})
    [warning] = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: TensorBoard failed to start (") and "metrics.jsonl goes on" in warning
    assert len(read_metrics(tmp_path)) == len(wandb_runs(tmp_path)) == 1


def test_a_tracker_that_fails_on_the_way_is_left_alone_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    with (
        tracker(tmp_path, "offline", trackers=["tensorboard", "wandb"]) as opened,
        pytest.MonkeyPatch.context() as broken,
    ):

        def full(*given: object) -> None:
            raise OSError(28, "No space left on device")

        broken.setattr(EventFileWriter, "add_event", full)
        for step in (1, 2):
            opened.log(step, {"train/loss": 0.5})
    [warning] = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: TensorBoard stopped (") and "No space left" in warning
    assert len(read_metrics(tmp_path)) == 2 and len(wandb_runs(tmp_path)) == 1


def test_a_missing_package_is_one_line_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    check_trackers(["wandb", "tensorboard"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CliError, match=r"^--tracker trackio needs a package: pip install 'asrscale\[trackio\]', or"):
        check_trackers(["trackio"])
