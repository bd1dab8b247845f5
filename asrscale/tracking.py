"""Where a run's numbers go: always to RUN/metrics.jsonl, and to Weights & Biases when wanted.

    RUN/metrics.jsonl             one JSON object a line: step, time (seconds since 1970), then the values by name
    RUN/metrics.png               the training curves, drawn from metrics.jsonl
    RUN/eval/step-00000500.jsonl  the predictions of one evaluation while training
    RUN/wandb/                    what wandb writes; id.txt lets a resumed run go on under the same W&B id

W&B is a guest: once training has begun, nothing that happens to it may fail the run.
"""

import contextlib
import json
import math
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TextIO

from asrscale.errors import CliError

WandbMode = Literal["auto", "offline", "online", "off"]

# A compute node without internet must not wait wandb's own 90 s at the start, nor for ever at the end, where
# SLURM's grace after a SIGTERM is 30 s (KillWait). What was not uploaded stays in RUN/wandb for `wandb sync`.
WANDB_PATIENCE_SECONDS = 20.0


class Tracker:
    """Takes a run's numbers; made by `open_tracker`."""

    def __init__(self, run_folder: Path, lines: TextIO | None, wandb_run: Any | None) -> None:
        self._run_folder, self._lines, self._wandb_run = run_folder, lines, wandb_run

    def log(self, step: int, values: Mapping[str, float | None]) -> None:
        """Records values measured at an optimizer step; what is not finite is written as null."""
        if self._lines is None:
            return
        numbers = {name: _json_number(value) for name, value in values.items()}
        self._lines.write(json.dumps({"step": step, "time": round(time.time(), 3), **numbers}, allow_nan=False) + "\n")
        self._lines.flush()
        measured = {name: value for name, value in numbers.items() if value is not None}
        self._tell_wandb(lambda run: run.log(measured, step=step))

    def log_predictions(self, step: int, rows: Sequence[Mapping[str, str | int | float]]) -> None:
        """Records what was recognised at a step: rows of the same names, such as key, reference, hypothesis."""
        if self._lines is None or not rows:
            return
        path = self._run_folder / "eval" / f"step-{step:08d}.jsonl"
        path.parent.mkdir(exist_ok=True)
        _write_whole(path, (json.dumps(dict(row), ensure_ascii=False) + "\n" for row in rows))

        def log_table(run: Any) -> None:
            import wandb

            columns: list[str | int] = list(rows[0])
            table = wandb.Table(columns=columns, data=[list(row.values()) for row in rows])
            run.log({"valid/predictions": table}, step=step)

        self._tell_wandb(log_table)

    def finish(self, exit_code: int) -> None:
        """Ends the W&B run; `open_tracker` calls it."""
        self._tell_wandb(lambda run: run.finish(exit_code=exit_code))
        if self._wandb_run is not None:
            _stop_wandb()

    def _tell_wandb(self, action: Callable[[Any], object]) -> None:
        """Does `action` with the W&B run; the first failure is W&B's last word (its service may have been killed)."""
        if self._wandb_run is None:
            return
        try:
            action(self._wandb_run)
        except Exception as error:
            self._wandb_run = None
            _stop_wandb()
            _warn(f"W&B stopped ({_first_line(error)}); metrics.jsonl goes on")


@contextlib.contextmanager
def open_tracker(
    run_folder: Path,
    *,
    project: str,
    name: str,
    config: Mapping[str, Any],
    wandb_mode: WandbMode = "auto",
    resume_step: int | None = None,
    enabled: bool = True,
) -> Iterator[Tracker]:
    """Opens the run's record; on leaving, W&B is told whether the run failed.

    Args:
        run_folder: Holds everything that is written; made if missing.
        project: W&B project.
        name: W&B run name.
        config: Every setting of the run, shown by W&B.
        wandb_mode: `auto` is online where W&B credentials are found and offline otherwise; `online` insists.
        resume_step: The step that training goes on from: later lines are dropped, for they will be measured again.
            None starts a new record and a new W&B run.
        enabled: False gives a tracker that records nothing: pass `rank == 0`.

    Raises:
        CliError: `wandb_mode` is `online` and W&B cannot be reached or has no credentials.
    """
    if not enabled:
        yield Tracker(run_folder, None, None)
        return
    run_folder.mkdir(parents=True, exist_ok=True)
    wandb_run = None
    if wandb_mode != "off":
        wandb_run = _start_wandb(run_folder, wandb_mode, _wandb_id(run_folder, resume_step), project, name, config)
    path = run_folder / "metrics.jsonl"
    _keep_until(path, resume_step)
    with path.open("a", encoding="utf-8") as lines:
        tracker = Tracker(run_folder, lines, wandb_run)
        exit_code = 1
        try:
            yield tracker
            exit_code = 0
        finally:
            tracker.finish(exit_code)


def read_metrics(run_folder: Path) -> list[dict[str, Any]]:
    """The rows of RUN/metrics.jsonl, oldest first; a line torn by a kill is left out.

    Raises:
        CliError: The folder holds no metrics.jsonl.
    """
    path = run_folder / "metrics.jsonl"
    if not path.exists():
        raise CliError(f"{path} is missing: give the folder of a run that has trained")
    return [row for row in map(_parsed, path.read_text(encoding="utf-8", errors="replace").splitlines()) if row]


def plot_metrics(run_folder: Path) -> Path:
    """Draws training loss, learning rate and error rates against the step into RUN/metrics.png.

    Returns:
        The path of the picture.

    Raises:
        CliError: The folder holds no metrics.jsonl.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    rows = read_metrics(run_folder)
    panels = {
        "loss": {"train/loss": ("training", "-"), "valid/loss": ("validation", "o-")},
        "learning rate": {"train/learning_rate": ("", "-")},
        "error rate": {"valid/wer": ("words", "o-"), "valid/cer": ("characters", "o-")},
    }
    figure = Figure(figsize=(8, 8), layout="constrained")
    figure.suptitle(run_folder.resolve().name)
    all_axes = figure.subplots(len(panels), sharex=True)
    for axes, (title, curves) in zip(all_axes, panels.items(), strict=True):
        for metric, (label, style) in curves.items():
            points = [(row["step"], row[metric]) for row in rows if row.get(metric) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), style, label=label, linewidth=1.2, markersize=3)
        axes.set_ylabel(title)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if len(axes.lines) > 1:
            axes.legend(frameon=False)
        if not axes.lines:
            axes.text(0.5, 0.5, "not measured yet", transform=axes.transAxes, ha="center", va="center", color="gray")
    if all_axes[0].lines:
        all_axes[0].set_yscale("log")  # CTC falls from tens to hundredths
        all_axes[0].yaxis.set_major_formatter("{x:g}")
    all_axes[-1].set_ylim(bottom=0)
    all_axes[-1].yaxis.set_major_formatter(PercentFormatter(xmax=1))
    all_axes[-1].set_xlabel("optimizer step")
    figure.align_ylabels()
    path = run_folder / "metrics.png"
    figure.savefig(path, dpi=120)
    return path


def _start_wandb(
    run_folder: Path, wandb_mode: WandbMode, run_id: str, project: str, name: str, config: Mapping[str, Any]
) -> Any | None:
    """The W&B run, or None with a warning where even offline fails; raises CliError where `online` fails."""
    import wandb

    settings = wandb.Settings(
        silent=True,
        console="off",  # the progress bar redraws itself: as a captured log it would be megabytes
        init_timeout=WANDB_PATIENCE_SECONDS,
        finish_timeout=WANDB_PATIENCE_SECONDS,
    )
    for mode in ("online", "offline") if wandb_mode == "auto" else (wandb_mode,):
        try:
            wandb.setup(settings=settings)
            # Without this wandb.init would ask for a key on the terminal, and the other ranks would wait.
            if mode == "online" and not wandb.login(prompt=False, verify=False):
                if wandb_mode == "auto":
                    continue
                raise CliError("W&B has no credentials: run 'wandb login', or choose --wandb offline")
            return wandb.init(
                dir=run_folder, mode=mode, id=run_id, resume="allow", project=project, name=name, config=dict(config)
            )
        except CliError:
            raise
        except Exception as error:
            _stop_wandb()  # its service still holds the id: the next try would be told that the id is in use
            if wandb_mode == "online":
                raise CliError(f"W&B failed ({_first_line(error)}): choose --wandb auto, offline or off") from None
            _warn(f"W&B failed to start {mode} ({_first_line(error)}); metrics.jsonl is kept all the same")
    return None


def _stop_wandb() -> None:
    """Ends wandb's service process; left to wandb's exit hook, one that was killed ends in a traceback."""
    import wandb

    with contextlib.suppress(Exception):
        wandb.teardown()


def _wandb_id(run_folder: Path, resume_step: int | None) -> str:
    """The run's W&B id: the one in the run folder if the run resumes, else a new one."""
    path = run_folder / "wandb" / "id.txt"
    if resume_step is None or not path.exists():
        path.parent.mkdir(exist_ok=True)
        _write_whole(path, [secrets.token_hex(4)])
    return path.read_text(encoding="utf-8").strip()


def _keep_until(path: Path, resume_step: int | None) -> None:
    """Drops the lines after `resume_step`, or all of them; torn lines too, and says how many."""
    if not path.exists():
        return
    torn = 0

    def kept() -> Iterator[str]:
        nonlocal torn
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                row = _parsed(line)
                torn += row is None
                if row is not None and resume_step is not None and row["step"] <= resume_step:
                    yield line.rstrip("\n") + "\n"  # the last line may have lost its end

    _write_whole(path, kept())
    if torn:
        _warn(f"{path}: {torn} torn line(s) dropped")


def _parsed(line: str) -> dict[str, Any] | None:
    """One line of metrics.jsonl, or None if a kill or a power cut tore it."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and "step" in row else None


def _write_whole(path: Path, lines: Iterator[str] | Sequence[str]) -> None:
    """Writes a file that is never seen half written."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.writelines(lines)
    os.replace(partial, path)


def _json_number(value: float | None) -> float | int | None:
    """A plain number (numpy and torch scalars too), or None where JSON has no word for it."""
    if value is None or not math.isfinite(value):
        return None
    return value if type(value) is int else float(value)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _warn(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr, flush=True)
