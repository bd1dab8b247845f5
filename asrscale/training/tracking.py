"""Where a run's numbers go: always to RUN/metrics.jsonl, and to Weights & Biases when wanted.

    RUN/metrics.jsonl             one JSON object a line: step, time (seconds since 1970), then the values by name
    RUN/metrics.png               the training curves, drawn from metrics.jsonl
    RUN/eval/step-00000500.jsonl  the predictions of one evaluation while training
    RUN/wandb/                    what wandb writes; id.txt lets a resumed run go on under the same W&B id

W&B is a guest: once training has begun, nothing that happens to it may fail the run.
"""

import contextlib
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from asrscale.common.atomic_files import append_jsonl, drop_rows_after, write_jsonl
from asrscale.common.errors import CliError

METRICS_FILE = "metrics.jsonl"


Values: TypeAlias = Mapping[str, float | Sequence[float] | None]  # several: one a rank


WandbMode = Literal["auto", "offline", "online", "off"]


# A compute node without internet must not wait wandb's own 90 s at the start, nor for ever at the end, where
# SLURM's grace after a SIGTERM is 30 s (KillWait). What was not uploaded stays in RUN/wandb for `wandb sync`.
START_PATIENCE_SECONDS, END_PATIENCE_SECONDS = 60.0, 20.0  # a start on a busy machine took more than 20 s


class Tracker:
    """Takes a run's numbers; made by `open_tracker`."""

    def __init__(self, run_folder: Path, enabled: bool, wandb: Any | None) -> None:
        self._run_folder, self._enabled, self._wandb = run_folder, enabled, wandb
        self._unwritten: dict[Path, str] = {}

    def log(self, step: int, values: Values) -> None:
        """Records values measured at an optimizer step; what is not finite is written as null."""
        if not self._enabled:
            return
        finite = {name: value for name, value in values.items() if value is not None and np.isfinite(value).all()}
        row = {"step": step, "time": round(time.time(), 3)} | dict.fromkeys(values) | finite
        append_jsonl(self._run_folder / METRICS_FILE, [row], self._unwritten)
        self.tell_wandb(lambda wandb: wandb.log(finite, step=step))

    def log_predictions(self, step: int, rows: Sequence[Mapping[str, str | int | float]]) -> None:
        """Records what was recognised at a step: rows of the same names, such as key, reference, hypothesis."""
        if not self._enabled or not rows:
            return
        path = self._run_folder / "eval" / f"step-{step:08d}.jsonl"
        try:
            write_jsonl(path, rows)
        except OSError as error:
            print(f"warning: {path}: {error.strerror}", file=sys.stderr)
        columns, data = list(rows[0]), [list(row.values()) for row in rows]
        self.tell_wandb(lambda wandb: wandb.log({"valid/predictions": wandb.Table(columns, data)}, step=step))

    def tell_wandb(self, action: Callable[[Any], object]) -> None:
        """Does `action` with wandb; the first failure is W&B's last word (its service may have been killed)."""
        if self._wandb is None:
            return
        try:
            action(self._wandb)
        except Exception as error:
            problem, self._wandb = _give_up(self._wandb, error), None
            print(f"warning: W&B stopped ({problem}); metrics.jsonl goes on", file=sys.stderr)


@contextlib.contextmanager
def open_tracker(
    run_folder: Path, *, project: str, config: Mapping[str, Any], wandb_mode: WandbMode = "auto",
    resume_step: int | None = None, enabled: bool = True,
) -> Iterator[Tracker]:  # fmt: skip
    """Opens the record of the run in `run_folder`; on leaving, W&B is told whether the run failed.

    W&B shows the run under `project` by its folder's name, with `config`; `wandb_mode` `auto` is online where W&B
    credentials are found and offline otherwise, `online` insists. Training goes on after `resume_step`: later lines are
    dropped, to be measured again; None starts a new record and a new W&B run. Pass `rank == 0` as `enabled`.

    Raises:
        CliError: `wandb_mode` is `online` and W&B cannot be reached or has no credentials.
    """
    if not enabled:
        yield Tracker(run_folder, False, None)
        return
    run_folder.mkdir(parents=True, exist_ok=True)
    wandb = None
    if wandb_mode != "off":
        id_file = run_folder / "wandb" / "id.txt"
        if resume_step is None or not id_file.exists():
            id_file.parent.mkdir(exist_ok=True)
            id_file.write_text(secrets.token_hex(4))
        run = {"dir": run_folder, "id": id_file.read_text(), "name": run_folder.absolute().name}
        wandb = _start_wandb(wandb_mode, run | {"project": project, "config": dict(config)})
    drop_rows_after(run_folder / METRICS_FILE, -1 if resume_step is None else resume_step)
    tracker, exit_code = Tracker(run_folder, True, wandb), 1
    try:
        yield tracker
        exit_code = 0
    finally:
        tracker.tell_wandb(lambda wandb: wandb.finish(exit_code=exit_code))
        tracker.tell_wandb(lambda wandb: wandb.teardown())


def _start_wandb(wandb_mode: WandbMode, run: Mapping[str, Any]) -> Any | None:
    """The module wandb with `run` begun, or None with a warning; raises CliError where `wandb_mode` is `online`."""
    import wandb

    settings = wandb.Settings(silent=True, console="off")  # the progress bar as a captured log would be megabytes
    settings.init_timeout, settings.finish_timeout = START_PATIENCE_SECONDS, END_PATIENCE_SECONDS
    for mode in ("online", "offline") if wandb_mode == "auto" else (wandb_mode,):
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


def _give_up(wandb: Any, error: Exception) -> str:
    """Ends wandb's service; returns the first line of `error`."""
    with contextlib.suppress(Exception):
        wandb.teardown()  # a live service holds the run's id, and a killed one ends wandb's exit hook in a traceback
    return (str(error) or type(error).__name__).splitlines()[0]
