"""The run folder: its lock, and the record of what ran."""

import fcntl
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from asrscale import __version__
from asrscale.common import distributed
from asrscale.common.distributed import World
from asrscale.common.errors import AsrscaleError, CliError, TransientError
from asrscale.model import recognizer
from asrscale.training.run_context import RunContext


@contextmanager
def locked_run_folder(folder: Path, world: World) -> Iterator[None]:
    """Makes the run folder and keeps other trainings out of it.

    Raises:
        CliError: It cannot be made or written to; on all ranks.
        TransientError: Another training is in it; on all ranks.
    """
    problem: AsrscaleError | None = None
    with ExitStack() as stack:
        if world.is_main:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                lock = stack.enter_context((folder / "lock").open("a+"))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                lock.truncate(0)
                print(f"process {os.getpid()} on {platform.node()}", file=lock, flush=True)
            except BlockingIOError:
                lock.seek(0)
                owner = lock.read().strip()
                problem = TransientError(f"{folder} is being trained in by {owner}: choose another --run, or end that")
            except OSError as error:
                problem = CliError(f"--run {folder} cannot be used: {error.strerror}: choose another place")
        if problems := list(filter(None, distributed.gather_objects(problem, world))):
            raise problems[0]
        yield


def describe_environment(job: RunContext) -> dict[str, Any]:
    """What ran: versions, commit, devices, model."""
    versions = {"asrscale": __version__, "python": platform.python_version()}
    packages = ("torch", "deepspeed", "transformers", "soundfile", "numpy")
    here = Path(__file__).parent
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=False)
    on_gpu = job.world.device.type == "cuda"
    return {
        "versions": versions | {name: version(name) for name in packages},
        "commit": commit.stdout.strip() or None,
        "command": sys.argv,
        "world_size": job.world.world_size,
        "device": torch.cuda.get_device_name(job.world.device) if on_gpu else platform.machine(),
        "cpu_cores": os.cpu_count(),
        "model": recognizer.describe(job.recognizer),
    }
