"""Where a run's numbers go: always to RUN/metrics.jsonl, and to the trackers that are wanted beside it.

    RUN/metrics.jsonl             one JSON object a line: step, time (seconds since 1970), then the values by name
    RUN/metrics.png               the training curves, drawn from metrics.jsonl
    RUN/report.html               a page of them
    RUN/eval/step-00000500.jsonl  the predictions of one evaluation while training
    RUN/wandb/                    what wandb writes; RUN/tensorboard/, RUN/trackio/ of the others

Each tracker is a module with the same functions. It is a guest: once training has begun, nothing that happens to it may
fail the run.
"""

import contextlib
import importlib.util
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from asrscale.common.addresses import clean_json
from asrscale.common.atomic_files import append_jsonl, drop_rows_after, read_jsonl, write_jsonl
from asrscale.common.errors import CliError
from asrscale.model.reasons import short_reason
from asrscale.training import tensorboard_tracker, trackio_tracker, wandb_tracker
from asrscale.training.tracked_run import TextRows, TrackedRun, WandbMode

METRICS_FILE = "metrics.jsonl"
_MODULES = {"wandb": wandb_tracker, "trackio": trackio_tracker, "tensorboard": tensorboard_tracker}
_LOCAL = {"tensorboard"}  # what it records is in the run folder only
_TITLES = {"wandb": "W&B", "trackio": "Trackio", "tensorboard": "TensorBoard"}

Values: TypeAlias = Mapping[str, float | Sequence[float] | None]  # by name; several numbers are one of each rank


class Tracker:
    """Records a run's numbers; made by `open_tracker`."""

    def __init__(
        self, run_folder: Path, *, enabled: bool, guests: Mapping[str, Any], shares_texts: bool = False
    ) -> None:
        self._run_folder = run_folder
        self._enabled = enabled
        self._guests = dict(guests)  # what the `start` of each tracker returned, by its name
        self._shares_texts = shares_texts
        self._unwritten: dict[Path, str] = {}  # lines that the disk did not take; see `append_jsonl`

    def log(self, step: int, values: Values) -> None:
        """Records values measured at an optimizer step; those that are not finite are written as null.

        The trackers get single numbers, which make curves, and not the numbers of each rank.
        """
        if not self._enabled:
            return
        finite = {name: value for name, value in values.items() if value is not None and np.isfinite(value).all()}
        row = {"step": step, "time": round(time.time(), 3)} | dict.fromkeys(values) | finite
        append_jsonl(self._run_folder / METRICS_FILE, [row], self._unwritten)
        scalars = {name: value for name, value in finite.items() if np.ndim(value) == 0}
        self._call(lambda module, guest: module.log(guest, step, scalars))

    def log_predictions(self, step: int, rows: TextRows) -> None:
        """Records what was recognised at a step: rows of the same names, such as key, reference, hypothesis.

        They stay on this machine, unless it was said that trackers may have them.
        """
        if not self._enabled or not rows:
            return
        path = self._run_folder / "eval" / f"step-{step:08d}.jsonl"
        try:
            write_jsonl(path, rows)
        except OSError as error:
            print(f"warning: {path}: {error.strerror}", file=sys.stderr)
        receiving = self._guests.keys() if self._shares_texts else self._guests.keys() & _LOCAL
        self._call(lambda module, guest: module.log_texts(guest, step, rows), receiving)

    def finish(self, *, failed: bool) -> None:
        """Ends the trackers, which learn whether the run failed."""
        self._call(lambda module, guest: module.finish(guest, failed=failed))

    def _call(self, action: Callable[[ModuleType, Any], object], names: Collection[str] = tuple(_MODULES)) -> None:
        """Calls `action` for each tracker of `names`; a failure ends one, whose service may have been killed."""
        for name, guest in [(name, guest) for name, guest in self._guests.items() if name in names]:
            module = _MODULES[name]
            try:
                action(module, guest)
            except Exception as error:
                del self._guests[name]
                with contextlib.suppress(Exception):
                    module.abandon(guest)
                problem = short_reason(error) or type(error).__name__
                print(f"warning: {_TITLES[name]} stopped ({problem}); metrics.jsonl goes on", file=sys.stderr)


def check_trackers(trackers: Iterable[str]) -> None:
    """Raises CliError where the package of a tracker is missing."""
    for name in trackers:
        if importlib.util.find_spec(_MODULES[name].PACKAGE) is None:
            raise CliError(f"--tracker {name} needs a package: pip install 'asrscale[{name}]', or leave it out")


@contextlib.contextmanager
def open_tracker(
    run_folder: Path,
    *,
    project: str,
    config: Mapping[str, Any],
    trackers: Iterable[str] = ("wandb",),
    wandb_mode: WandbMode = "auto",
    lowest: Sequence[str] = (),
    resume_step: int | None = None,
    evaluated_step: int | None = None,
    shares_texts: bool = False,
    enabled: bool = True,
) -> Iterator[Tracker]:
    """Opens the record of the run in `run_folder`; at the end of the block, trackers learn whether the run failed.

    Args:
        run_folder: Is made; trackers show the run by its name.
        project: Under which trackers show the run.
        config: The settings that they show.
        trackers: Which: wandb, trackio, tensorboard.
        wandb_mode: `auto` is what the variable WANDB_MODE says, or else online where W&B credentials are found and
                offline otherwise; `online` insists.
        lowest: Values, such as valid/wer, of which W&B's summary has the lowest and not the last.
        resume_step: Training goes on after this step: lines of later ones are dropped, to be measured again. None
            starts a new record and a new run of each tracker.
        evaluated_step: The last evaluation that counts: those of later steps are made again. None: up to `resume_step`.
        shares_texts: Whether trackers that others may read get what was recognised, transcripts included.
        enabled: Whether to record anything; pass `rank == 0`.

    Raises:
        CliError: `wandb_mode` is `online` and W&B cannot be reached or has no credentials.
    """
    if not enabled:
        yield Tracker(run_folder, enabled=False, guests={})
        return
    run_folder.mkdir(parents=True, exist_ok=True)
    run = TrackedRun(run_folder, project, clean_json(dict(config)), lowest, resume_step, wandb_mode)
    guests = _start(trackers, run)
    _drop_repeated(run_folder / METRICS_FILE, -1 if resume_step is None else resume_step, evaluated_step)

    tracker = Tracker(run_folder, enabled=True, guests=guests, shares_texts=shares_texts)
    failed = True
    try:
        yield tracker
        failed = False
    finally:
        tracker.finish(failed=failed)


def _start(trackers: Iterable[str], run: TrackedRun) -> dict[str, Any]:
    """Returns what the trackers that could be started returned, by their names; raises as `open_tracker`."""
    guests = {}
    for name in trackers:
        try:
            guest = _MODULES[name].start(run)
        except CliError:
            raise
        except Exception as error:
            problem = short_reason(error) or type(error).__name__
            print(f"warning: {_TITLES[name]} failed to start ({problem}); metrics.jsonl goes on", file=sys.stderr)
            continue
        if guest is not None:
            guests[name] = guest
    return guests


def _drop_repeated(path: Path, resume_step: int, evaluated_step: int | None) -> None:
    """Drops the lines of steps after `resume_step`, and evaluations after `evaluated_step`: both are measured again."""
    drop_rows_after(path, resume_step)
    if evaluated_step is None or not path.exists():
        return
    rows = read_jsonl(path)
    kept = [row for row in rows if row["step"] <= evaluated_step or "valid/wer" not in row]
    if len(kept) < len(rows):
        write_jsonl(path, kept)
