from pathlib import Path

import matplotlib
import pytest

from asrscale.common.errors import CliError
from asrscale.training.metrics_plot import plot_metrics, rate_before, read_metrics
from asrscale.training.tracking import open_tracker


def test_a_plot_is_a_picture_of_what_was_measured(tmp_path: Path) -> None:
    with open_tracker(tmp_path, project="test", config={}, wandb_mode="off") as tracker:
        for step in range(1, 50):
            tracker.log(step, {"train/loss": 10 / step, "train/learning_rate": 1e-3, "valid/wer": None})
    empty = plot_metrics_bytes(tmp_path)
    with open_tracker(tmp_path, project="test", config={}, wandb_mode="off", resume_step=49) as tracker:
        tracker.log(49, {"valid/wer": 0.5, "valid/cer": 0.2, "valid/loss": 1.0})
    by_words = plot_metrics_bytes(tmp_path)
    assert by_words != empty
    assert plot_metrics(tmp_path, "cer").read_bytes() != by_words  # another order, and another one is marked


def plot_metrics_bytes(run_folder: Path) -> bytes:
    path = plot_metrics(run_folder, "wer")
    assert path == run_folder / "metrics.png"
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    return content


def test_the_rate_before_the_first_step_is_a_line_to_beat(tmp_path: Path) -> None:
    with open_tracker(tmp_path, project="test", config={}, wandb_mode="off") as tracker:
        tracker.log(0, {"valid/wer": 0.5, "valid/cer": 0.2, "valid/loss": 1.0})
        tracker.log(9, {"valid/wer": 0.4, "valid/cer": 0.1, "valid/loss": 0.5})
    assert rate_before(read_metrics(tmp_path), "wer") is None
    without = plot_metrics_bytes(tmp_path)
    with open_tracker(tmp_path, project="test", config={}, wandb_mode="off") as tracker:
        before = {"valid/wer_before": 0.5, "valid/cer_before": 0.2}
        tracker.log(0, {"valid/wer": 0.5, "valid/cer": 0.2, "valid/loss": 1.0} | before)
        tracker.log(9, {"valid/wer": 0.4, "valid/cer": 0.1, "valid/loss": 0.5} | before)
    assert (rate_before(read_metrics(tmp_path), "wer"), rate_before(read_metrics(tmp_path), "cer")) == (0.5, 0.2)
    assert plot_metrics_bytes(tmp_path) != without


def test_a_plot_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="is missing: give the folder of a run"):
        plot_metrics(tmp_path, "wer")


def test_a_matplotlibrc_changes_nothing(tmp_path: Path) -> None:
    """One in the folder that one stands in is read before the user's own, and `text.usetex` in it would start LaTeX."""
    with open_tracker(tmp_path, project="test", config={}, wandb_mode="off") as tracker:
        tracker.log(1, {"train/loss": 1.0, "valid/wer": 0.5})
    plain = plot_metrics_bytes(tmp_path)
    with matplotlib.rc_context({"text.usetex": True, "figure.facecolor": "red"}):
        assert plot_metrics_bytes(tmp_path) == plain
