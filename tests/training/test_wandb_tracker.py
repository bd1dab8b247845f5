"""W&B within a sweep; tests/training/test_tracking.py has it alone."""

from pathlib import Path

import pytest

from asrscale.training.tracking import open_tracker


def test_a_run_of_a_sweep_keeps_the_id_that_its_agent_has_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    monkeypatch.setenv("WANDB_RUN_ID", "chosen1")
    config = {"optimisation": {"learning_rate": 1e-4}}
    with open_tracker(tmp_path, project="speech", config=config, wandb_mode="offline") as tracker:
        tracker.log(1, {"train/loss": 1.0})
        import wandb

        run = wandb.run
        assert (run.id, run.sweep_id, dict(run.config)) == ("chosen1", "sweep1", config)
    assert list(tmp_path.glob("wandb/offline-run-*-chosen1/run-chosen1.wandb"))
    assert capfd.readouterr() == ("", "")
