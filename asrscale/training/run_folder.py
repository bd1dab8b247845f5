"""The run folder: its lock, the settings of the run, and the record of what ran."""

import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from asrscale import __version__
from asrscale.common import distributed
from asrscale.common.atomic_files import write_json
from asrscale.common.distributed import World
from asrscale.common.errors import AsrscaleError, CliError, TransientError
from asrscale.common.lock_files import open_lock, take_lock
from asrscale.data.mixing import data_sets
from asrscale.data.run_plan import EQUAL_FRAMES
from asrscale.model.model_folders import CHECKPOINTS_FOLDER
from asrscale.model.recognizer import describe
from asrscale.training.config import to_dict
from asrscale.training.run_context import RunContext

RECORDED_PACKAGES = ("torch", "deepspeed", "transformers", "soundfile", "numpy")

_OWNER_CHARACTERS = 300  # of what the lock says: a process and a host, whose name has 255 at most


@contextmanager
def locked_run_folder(folder: Path, world: World) -> Iterator[None]:
    """Makes the run folder and keeps other trainings out of it. A collective.

    Raises:
        CliError: It cannot be made or written to; on all ranks.
        TransientError: Another training uses it; on all ranks.
    """
    problem: AsrscaleError | None = None
    with ExitStack() as stack:
        if world.is_main:
            try:
                _lock(folder, stack)
            except AsrscaleError as error:
                problem = error
        own = None if problem is None else (isinstance(problem, TransientError), str(problem))
        problem_of_main = distributed.gather_objects(own, world)[0]
        if problem_of_main is not None:
            is_transient, message = problem_of_main
            raise TransientError(message) if is_transient else CliError(message)
        yield


def _lock(folder: Path, stack: ExitStack) -> None:
    """Takes the lock of a run folder until `stack` is closed; the process that has it is named in the file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = stack.enter_context(open_lock(folder / "lock"))
        take_lock(lock)
        lock.truncate(0)
        print(f"process {os.getpid()} on {platform.node()}", file=lock, flush=True)
    except BlockingIOError:
        owner = lock.read(_OWNER_CHARACTERS).strip()
        raise TransientError(
            f"{folder} is in use by another training, {owner}: choose another --run, or end that"
        ) from None
    except OSError as error:
        raise CliError(f"--run {folder} cannot be used: {error.strerror}: choose another place") from error


def write_settings(context: RunContext, environment: dict[str, Any]) -> None:
    """Writes the settings as resolved, what DeepSpeed gets, and what runs where. For the main rank.

    And beside the checkpoints what they have in common, so that each can be loaded by itself.
    """
    folder = context.folder
    settings = to_dict(context.config) | {
        "recipe": context.chosen.to_json(),
        "content": dict(context.content),
        "weights": [one.weight for one in data_sets(context.plan.catalog)],
        "plan_rules": context.plan.rules,
        "equal_frames": context.plan.rules >= EQUAL_FRAMES,  # what versions before `plan_rules` read
    }
    write_json(folder / "config.json", settings)
    write_json(folder / "ds_config.json", context.ds_config)
    write_json(folder / "environment.json", environment)
    context.recognizer.save_settings(folder / CHECKPOINTS_FOLDER)


def describe_environment(context: RunContext) -> dict[str, Any]:
    """What runs, as JSON has it: versions, commit, devices, model."""
    device = context.world.device
    versions = {"asrscale": __version__, "python": platform.python_version()}
    versions |= {name: version(name) for name in RECORDED_PACKAGES}
    return {
        "versions": versions,
        "commit": _commit(),
        "world_size": context.world.world_size,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "cpu_cores": os.cpu_count(),
        "model": describe(context.recognizer),
    }


def _commit() -> str | None:
    """The git commit of this code, where it runs from a checkout."""
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or None
