"""Weights & Biases: what wandb writes is in RUN/wandb; id.txt there lets a resumed run go on under the same id."""

import configparser
import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from asrscale.common.errors import CliError
from asrscale.model.reasons import short_reason
from asrscale.training.tracked_run import Scalars, TextRows, TrackedRun, WandbMode

Mode: TypeAlias = Literal["online", "offline"]

PACKAGE = "wandb"
NO_LOGIN = "no login"

# A compute node without internet must not wait wandb's own 90 s at the start, nor for ever at the end, where
# SLURM's grace after a SIGTERM is 30 s (KillWait). What was not uploaded stays in RUN/wandb for `wandb sync`.
START_PATIENCE_SECONDS = 60.0  # a start on a busy machine took more than 20 s
END_PATIENCE_SECONDS = 20.0


def start(run: TrackedRun) -> Any | None:
    """Returns the module wandb after `wandb.init`; None where it is off, and after a failure, which is printed.

    Raises:
        CliError: The folder that one stands in has settings for wandb; or the mode is `online`, and W&B cannot be
            reached or has no credentials.
    """
    modes = _modes(run.wandb_mode)
    if not modes:
        return None
    refuse_settings_of_folder(Path.cwd())
    given = {"dir": run.folder, "name": run.name, "config": dict(run.config)}
    run_id = run.id_of("wandb")
    if not os.environ.get("WANDB_SWEEP_ID"):  # a sweep's agent has chosen both
        given |= {"id": run_id, "project": run.project}
    wandb = _init(modes, given)
    if wandb is not None:
        for name in run.lowest:
            wandb.define_metric(name, summary="min")
    return wandb


def log(wandb: Any, step: int, values: Scalars) -> None:
    """Records values measured at a step."""
    wandb.log(values, step=step)


def log_texts(wandb: Any, step: int, rows: TextRows) -> None:
    """Records what was recognised at a step."""
    data = [list(row.values()) for row in rows]
    wandb.log({"valid/predictions": wandb.Table(list(rows[0]), data)}, step=step)


def finish(wandb: Any, *, failed: bool) -> None:
    """Uploads what is left, and says whether the run failed."""
    wandb.finish(exit_code=int(failed))
    wandb.teardown()


def abandon(wandb: Any) -> None:
    """Ends wandb's service: a live one holds the run's id, and a killed one ends wandb's exit hook in a traceback."""
    wandb.teardown()


def refuse_settings_of_folder(folder: Path) -> None:
    """Raises CliError where wandb would take settings from a folder, which may have come with data.

    They win over the user's own, and among them is the server that the key is sent to.
    """
    for name in ("wandb/settings", ".wandb/settings"):
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(folder / name)
            names = sorted(parser["default"]) if "default" in parser else []
        except (OSError, UnicodeDecodeError, configparser.Error):
            names = ["what cannot be read"]
        if names:
            raise CliError(
                f"W&B: {name} in this folder sets {', '.join(names)[:80]}; the like decides which server has your key: "
                "remove it and set variables such as WANDB_ENTITY instead, stand elsewhere, or choose --wandb off"
            )


def _modes(wandb_mode: WandbMode) -> Sequence[Mode]:
    """Returns the modes to try, one after the other: `auto` sends nothing where the environment says so."""
    if wandb_mode == "off":
        return ()
    if wandb_mode != "auto":
        return (wandb_mode,)
    wanted = os.environ.get("WANDB_MODE", "").strip()  # what a `mode` of wandb.init would win over
    if wanted == "disabled":
        return ()
    if wanted in ("offline", "dryrun"):  # dryrun is the older name
        return ("offline",)
    return ("online", "offline")


def _init(modes: Sequence[Mode], given: Mapping[str, Any]) -> Any | None:
    """Returns the module wandb after `wandb.init` with some arguments, or None after a warning; raises as `start`."""
    _unset_empty_variables()
    import wandb

    settings = wandb.Settings(silent=True, console="off")  # the progress bar as a captured log would be megabytes
    # Who reads the project need not know the machine, its user, the command line and where everything lies.
    settings.x_disable_meta = True
    settings.x_disable_machine_info = True
    settings.disable_git = True
    settings.disable_code = True
    settings.host = ""
    settings.init_timeout = START_PATIENCE_SECONDS
    settings.finish_timeout = END_PATIENCE_SECONDS
    for mode in modes:
        try:
            wandb.setup(settings=settings)
            # Without a login wandb.init would ask for a key on the terminal, and the other ranks would wait.
            if mode == "offline" or wandb.login(prompt=False, verify=False):
                wandb.init(mode=mode, resume="allow", **given)
                return wandb
            problem = NO_LOGIN
        except Exception as error:
            problem = short_reason(error) or type(error).__name__
        if problem == NO_LOGIN and "offline" in modes:
            continue  # with the same service
        with contextlib.suppress(Exception):
            abandon(wandb)
        if "offline" not in modes:
            raise CliError(f"W&B: {problem}; run wandb login, or choose --wandb auto, offline or off")
        print(f"warning: W&B failed to start {mode} ({problem})", file=sys.stderr)
    return None


def _unset_empty_variables() -> None:
    """Removes W&B's variables that are empty from the environment: a batch script's `WANDB_MODE=` asks for nothing."""
    for name, value in list(os.environ.items()):
        if name.startswith("WANDB_") and not value.strip():
            del os.environ[name]
