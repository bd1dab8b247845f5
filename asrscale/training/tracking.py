"""Where a run's numbers go: always to RUN/metrics.jsonl, and to Weights & Biases when wanted.

    RUN/metrics.jsonl             one JSON object a line: step, time (seconds since 1970), then the values by name
    RUN/metrics.png               the training curves, drawn from metrics.jsonl
    RUN/eval/step-00000500.jsonl  the predictions of one evaluation while training
    RUN/wandb/                    what wandb writes; id.txt lets a resumed run go on under the same W&B id

W&B is a guest: once training has begun, nothing that happens to it may fail the run.
"""

import contextlib
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from asrscale.common.atomic_files import append_jsonl, drop_rows_after, read_jsonl, write_jsonl
from asrscale.common.errors import CliError
from asrscale.model.reasons import short_reason

METRICS_FILE = "metrics.jsonl"

Values: TypeAlias = Mapping[str, float | Sequence[float] | None]  # by name; several numbers are one of each rank
WandbMode = Literal["auto", "offline", "online", "off"]

# A compute node without internet must not wait wandb's own 90 s at the start, nor for ever at the end, where
# SLURM's grace after a SIGTERM is 30 s (KillWait). What was not uploaded stays in RUN/wandb for `wandb sync`.
START_PATIENCE_SECONDS = 60.0  # a start on a busy machine took more than 20 s
END_PATIENCE_SECONDS = 20.0


class Tracker:
    """Records a run's numbers; made by `open_tracker`."""

    def __init__(self, run_folder: Path, *, enabled: bool, wandb: Any | None) -> None:
        self._run_folder = run_folder
        self._enabled = enabled
        self._wandb = wandb  # the module, or None without W&B
        self._unwritten: dict[Path, str] = {}  # lines that the disk did not take; see `append_jsonl`

    def log(self, step: int, values: Values) -> None:
        """Records values measured at an optimizer step; those that are not finite are written as null."""
        if not self._enabled:
            return
        finite = {name: value for name, value in values.items() if value is not None and np.isfinite(value).all()}
        row = {"step": step, "time": round(time.time(), 3)} | dict.fromkeys(values) | finite
        append_jsonl(self._run_folder / METRICS_FILE, [row], self._unwritten)
        self.call_wandb(lambda wandb: wandb.log(finite, step=step))

    def log_predictions(self, step: int, rows: Sequence[Mapping[str, str | int | float]]) -> None:
        """Records what was recognised at a step: rows of the same names, such as key, reference, hypothesis."""
        if not self._enabled or not rows:
            return
        path = self._run_folder / "eval" / f"step-{step:08d}.jsonl"
        try:
            write_jsonl(path, rows)
        except OSError as error:
            print(f"warning: {path}: {error.strerror}", file=sys.stderr)
        columns = list(rows[0])
        data = [list(row.values()) for row in rows]
        self.call_wandb(lambda wandb: wandb.log({"valid/predictions": wandb.Table(columns, data)}, step=step))

    def call_wandb(self, action: Callable[[Any], object]) -> None:
        """Calls `action` with the module wandb, where W&B is in use.

        The first failure is the end of that, since wandb's service may have been killed.
        """
        if self._wandb is None:
            return
        try:
            action(self._wandb)
        except Exception as error:
            problem = _give_up(self._wandb, error)
            self._wandb = None
            print(f"warning: W&B stopped ({problem}); metrics.jsonl goes on", file=sys.stderr)


@contextlib.contextmanager
def open_tracker(
    run_folder: Path,
    *,
    project: str,
    config: Mapping[str, Any],
    wandb_mode: WandbMode = "auto",
    best_of: str | None = None,
    resume_step: int | None = None,
    evaluated_step: int | None = None,
    enabled: bool = True,
) -> Iterator[Tracker]:
    """Opens the record of the run in `run_folder`; at the end of the block, W&B learns whether the run failed.

    Args:
        run_folder: Is made; W&B shows the run by its name.
        project: Under which W&B shows the run.
        config: The settings that W&B shows.
        wandb_mode: `auto` is online where W&B credentials are found and offline otherwise; `online` insists.
        best_of: A value, such as valid/wer, of which W&B's summary has the lowest and not the last.
        resume_step: Training goes on after this step: lines of later ones are dropped, to be measured again. None
            starts a new record and a new W&B run.
        evaluated_step: The last evaluation that counts: those of later steps are made again. None: up to `resume_step`.
        enabled: Whether to record anything; pass `rank == 0`.

    Raises:
        CliError: `wandb_mode` is `online` and W&B cannot be reached or has no credentials.
    """
    if not enabled:
        yield Tracker(run_folder, enabled=False, wandb=None)
        return
    run_folder.mkdir(parents=True, exist_ok=True)
    wandb = None
    if wandb_mode != "off":
        run = {
            "dir": run_folder,
            "id": _wandb_id(run_folder, is_new=resume_step is None),
            "name": run_folder.absolute().name,
            "project": project,
            "config": dict(config),
        }
        wandb = _start_wandb(wandb_mode, run)
    _drop_repeated(run_folder / METRICS_FILE, -1 if resume_step is None else resume_step, evaluated_step)

    tracker = Tracker(run_folder, enabled=True, wandb=wandb)
    if best_of is not None:
        tracker.call_wandb(lambda wandb: wandb.define_metric(best_of, summary="min"))
    exit_code = 1
    try:
        yield tracker
        exit_code = 0
    finally:
        tracker.call_wandb(lambda wandb: wandb.finish(exit_code=exit_code))
        tracker.call_wandb(lambda wandb: wandb.teardown())


def _drop_repeated(path: Path, resume_step: int, evaluated_step: int | None) -> None:
    """Drops the lines of steps after `resume_step`, and evaluations after `evaluated_step`: both are measured again."""
    drop_rows_after(path, resume_step)
    if evaluated_step is None or not path.exists():
        return
    rows = read_jsonl(path)
    kept = [row for row in rows if row["step"] <= evaluated_step or "valid/wer" not in row]
    if len(kept) < len(rows):
        write_jsonl(path, kept)


def _wandb_id(run_folder: Path, *, is_new: bool) -> str:
    """Returns the W&B id of the run in RUN/wandb/id.txt, after drawing one where the run is new or has none."""
    path = run_folder / "wandb" / "id.txt"
    if is_new or not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text(secrets.token_hex(4))
    return path.read_text()


def _start_wandb(wandb_mode: Literal["auto", "offline", "online"], run: Mapping[str, Any]) -> Any | None:
    """Returns the module wandb after `wandb.init` with the arguments `run`, or None after a warning.

    Raises:
        CliError: `wandb_mode` is `online`, and W&B cannot be reached or has no credentials.
    """
    _unset_empty_variables()
    import wandb

    settings = wandb.Settings(silent=True, console="off")  # the progress bar as a captured log would be megabytes
    settings.init_timeout = START_PATIENCE_SECONDS
    settings.finish_timeout = END_PATIENCE_SECONDS
    modes: Sequence[Literal["online", "offline"]] = ("online", "offline") if wandb_mode == "auto" else (wandb_mode,)
    for mode in modes:
        problem = ""
        try:
            wandb.setup(settings=settings)
            # Without a login wandb.init would ask for a key on the terminal, and the other ranks would wait.
            if mode == "offline" or wandb.login(prompt=False, verify=False):
                wandb.init(mode=mode, resume="allow", **run)
                return wandb
        except Exception as error:
            problem = _give_up(wandb, error)
        if wandb_mode == "online":
            raise CliError(f"W&B: {problem or 'no login'}; run wandb login, or choose --wandb auto, offline or off")
        if problem:
            print(f"warning: W&B failed to start {mode} ({problem})", file=sys.stderr)
    return None


def _unset_empty_variables() -> None:
    """Removes W&B's variables that are empty from the environment: a batch script's `WANDB_MODE=` asks for nothing."""
    for name, value in list(os.environ.items()):
        if name.startswith("WANDB_") and not value.strip():
            del os.environ[name]


def _give_up(wandb: Any, error: Exception) -> str:
    """Ends wandb's service; returns the beginning of `error`."""
    with contextlib.suppress(Exception):
        wandb.teardown()  # a live service holds the run's id, and a killed one ends wandb's exit hook in a traceback
    return short_reason(error) or type(error).__name__
