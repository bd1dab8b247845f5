"""Training curves: RUN/metrics.png from RUN/metrics.jsonl."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asrscale.common.atomic_files import read_jsonl
from asrscale.common.errors import CliError
from asrscale.results.metrics import Metric, both_metrics
from asrscale.training.tracking import METRICS_FILE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLOT_FILE = "metrics.png"


def read_metrics(run_folder: Path) -> list[dict[str, Any]]:
    """Reads the rows of RUN/metrics.jsonl, oldest first, without lines torn by a kill.

    Raises:
        CliError: The file is missing.
    """
    path = run_folder / METRICS_FILE
    if not path.exists():
        raise CliError(f"{path} is missing: give the folder of a run that has trained")
    return read_jsonl(path)


def plot_metrics(run_folder: Path, metric: Metric) -> Path:
    """Draws losses, learning rate and error rates against the step into RUN/metrics.png; returns its path.

    Args:
        run_folder: The run.
        metric: The error rate that decides, which comes first and is marked in the legend.

    Raises:
        CliError: RUN/metrics.jsonl is missing.
    """
    import matplotlib

    rows = read_metrics(run_folder)
    # Not as a matplotlibrc in the folder that one stands in has it: it could have LaTeX run.
    with matplotlib.rc_context(matplotlib.rcParamsDefault):
        return _plot(run_folder, rows, metric)


def _plot(run_folder: Path, rows: list[dict[str, Any]], metric: Metric) -> Path:
    """Draws the rows of metrics.jsonl; returns the path of the picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 8), layout="constrained")
    figure.suptitle(run_folder.resolve().name)
    loss, learning_rate, errors = figure.subplots(3, sharex=True)
    _draw(loss, rows, "train/loss", "valid/loss")
    _draw(learning_rate, rows, "train/learning_rate")
    first, second = both_metrics(metric)
    _draw(errors, rows, f"valid/{first}", f"valid/{second}", deciding=f"valid/{first}")
    _draw_line_to_beat(errors, rows, first)
    loss.set_yscale("log")  # CTC falls from tens to hundredths
    errors.set(xlabel="optimizer step", ylim=(0, None))
    errors.yaxis.set_major_formatter("{x:.0%}")
    path = run_folder / PLOT_FILE
    figure.savefig(path, dpi=120)
    return path


def _draw(axes: "Axes", rows: list[dict[str, Any]], *metrics: str, deciding: str = "") -> None:
    """Draws metrics against the step, where they were measured: few points of validation, many of training."""
    for metric in metrics:
        measured = [row for row in rows if row.get(metric) is not None]
        steps = [row["step"] for row in measured]
        values = [row[metric] for row in measured]
        line_style = "o-" if metric.startswith("valid/") else "-"
        label = f"{metric}, which decides" if metric == deciding else metric
        axes.plot(steps, values, line_style, label=label, linewidth=1.2, markersize=3)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)


def rate_before(rows: Iterable[Mapping[str, Any]], metric: Metric) -> float | None:
    """Returns an error rate before the first step, by the rows of metrics.jsonl; None where it was not measured."""
    return next((row[f"valid/{metric}_before"] for row in rows if f"valid/{metric}_before" in row), None)


def _draw_line_to_beat(axes: "Axes", rows: list[dict[str, Any]], metric: Metric) -> None:
    """Draws the rate of the model before its first step as a level line, where there is one."""
    rate = rate_before(rows, metric)
    if rate is not None:
        axes.axhline(rate, linestyle="--", linewidth=1, color="gray", label=f"{metric.upper()} before the first step")
        axes.legend(frameon=False)
