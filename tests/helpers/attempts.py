"""Attempts at a run, by any launcher, whose processes are found again whatever their parent is by then."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from conftest import OF_THIS_PROCESS, REPOSITORY

from helpers.training import free_port

Launcher = Literal["deepspeed", "torchrun", "python"]

# The role of a process by a word at the beginning of its command line.
ROLES = {
    "deepspeed": "runner",
    "deepspeed.launcher.launch": "launch",
    "torchrun": "launch",
    "train.py": "rank",
    "broken_train.py": "rank",
}


@dataclass(frozen=True)
class Bench:
    """What all runs have in common.

    Attributes:
        shards: The data.
        folder: Of all run folders.
        flags: Of every attempt.
        steps: How many there are.
        references: Number of ranks to the folder of an undisturbed run.
    """

    shards: Path
    folder: Path
    flags: tuple[str, ...]
    steps: int
    references: dict[int, Path]


@dataclass(frozen=True)
class Attempt:
    """A running attempt, whose processes have a mark in their environment, whatever their parent is by now."""

    process: subprocess.Popen[str]
    mark: str

    def processes(self) -> dict[int, str]:
        """Returns the roles of the processes that are alive, by process id."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() not in (entry / "environ").read_bytes():
                    continue
                words = (entry / "cmdline").read_text(errors="replace").split("\0")
                state = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
            except OSError:
                continue
            if state not in "ZX":
                found[int(entry.name)] = _role(words)
        return found

    def strike(self, number: int, target: str, rng: random.Random) -> bool:
        """Sends a signal to the processes of a role, but to one rank only; returns whether there were any."""
        hit = [pid for pid, role in self.processes().items() if target == "all" or role == target]
        if hit and target == "rank":
            hit = rng.sample(hit, 1)
        for pid in hit:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return bool(hit)

    def seconds_until_gone(self) -> float:
        """Waits until nothing is left of it; kills what is left after a minute."""
        started = time.monotonic()
        while self.processes():
            if time.monotonic() - started > 60:
                self.strike(signal.SIGKILL, "all", random.Random())
            time.sleep(0.1)
        return time.monotonic() - started


def _role(words: list[str]) -> str:
    """Returns the role of the process with this command line."""
    for word in words[:5]:
        name = Path(word).name
        if name in ROLES:
            return ROLES[name]
    return "helper"


def start(bench: Bench, run_folder: Path, launcher: Launcher, own: str = "") -> Attempt:
    """Starts a run, or goes on with it, as a user would; its output is appended to a file beside its folder.

    Args:
        bench: What all runs have in common.
        run_folder: Of this run.
        launcher: What starts it.
        own: A fault for tests/ranks/broken_train.py.
    """
    words = {
        "deepspeed": ["deepspeed", "--num_gpus", "2", "--master_port", str(free_port())],
        "torchrun": ["torchrun", "--nproc-per-node", "2", "--master-port", str(free_port()), "--"],
        "python": ["python"],
    }[launcher]
    words.append("tests/ranks/broken_train.py" if own else "launch/train.py")
    data = ["--train", bench.shards / "train", "--valid", bench.shards / "valid", "--model", "tiny", "--wandb", "off"]
    mark = str(uuid.uuid4())
    clean = {name: value for name, value in os.environ.items() if not name.startswith(OF_THIS_PROCESS)}
    own_environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "OMP_NUM_THREADS": "1",
        "TORTURE": mark,
    }
    with run_folder.with_suffix(".log").open("a") as output:
        print("==", *words, own, file=output, flush=True)
        process = subprocess.Popen(
            [*words, *map(str, data), "--run", str(run_folder), *bench.flags],
            cwd=REPOSITORY,
            env=clean | own_environment | ({"FAULT": own} if own else {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    return Attempt(process, f"TORTURE={mark}")
