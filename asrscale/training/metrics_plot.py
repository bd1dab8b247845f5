"""Training curves: RUN/metrics.png from RUN/metrics.jsonl."""

from pathlib import Path
from typing import Any

from asrscale.common.atomic_files import read_jsonl
from asrscale.common.errors import CliError
from asrscale.training.tracking import METRICS_FILE


def read_metrics(run_folder: Path) -> list[dict[str, Any]]:
    """The rows of RUN/metrics.jsonl, oldest first, but for lines torn by a kill; CliError where it is missing."""
    path = run_folder / METRICS_FILE
    if not path.exists():
        raise CliError(f"{path} is missing: give the folder of a run that has trained")
    return read_jsonl(path)


def plot_metrics(run_folder: Path) -> Path:
    """Draws losses, learning rate and error rates against the step into RUN/metrics.png; CliError as `read_metrics`."""
    from matplotlib.figure import Figure

    rows = read_metrics(run_folder)
    figure = Figure(figsize=(8, 8), layout="constrained")
    figure.suptitle(run_folder.resolve().name)
    loss, rate, errors = figure.subplots(3, sharex=True)
    panels = {loss: ("train/loss", "valid/loss"), rate: ("train/learning_rate",), errors: ("valid/wer", "valid/cer")}
    for axes, metrics in panels.items():
        for metric in metrics:
            measured = [row for row in rows if row.get(metric) is not None]
            points = [row["step"] for row in measured], [row[metric] for row in measured]
            axes.plot(*points, "o-" if metric.startswith("valid/") else "-", label=metric, linewidth=1.2, markersize=3)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
    loss.set_yscale("log")  # CTC falls from tens to hundredths
    errors.set(xlabel="optimizer step", ylim=(0, None))
    errors.yaxis.set_major_formatter("{x:.0%}")
    path = run_folder / "metrics.png"
    figure.savefig(path, dpi=120)
    return path
