"""Training commands in the background, and the processes of their ranks."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias

from conftest import OF_THIS_PROCESS, REPOSITORY

Start: TypeAlias = Callable[..., subprocess.Popen[str]]
PATIENCE_SECONDS = 240.0  # on a busy machine
LAUNCHERS = {"deepspeed", "torchrun", "deepspeed.launcher.launch"}


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    """Returns once `condition` holds; fails where it does not, or where `process` ends before."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ranks_of(run_folder: Path) -> list[int]:
    """Process ids of the ranks that train in `run_folder`; launchers and zombies are left out."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_text().split("\0")
            state = process_stat(int(folder.name))[0]
        except OSError:
            continue
        is_launcher = not LAUNCHERS.isdisjoint(Path(word).name for word in words[:5])
        if str(run_folder) in words and not is_launcher and state not in "ZX":
            found.append(int(folder.name))
    return sorted(found)


def process_stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the command's name: state, parent's id, …"""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def parent_of(pid: int) -> int:
    """The process id of a process's parent."""
    return int(process_stat(pid)[1])


def environment_of(pid: int) -> dict[str, str]:
    """The environment that a process was started with."""
    words = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(word.split("=", 1) for word in words if "=" in word)


def caught_signals(pid: int) -> set[int]:
    """The numbers of the signals that a process has handlers for."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = int(status.split("SigCgt:")[1].split()[0], 16)
    return {number for number in range(1, signal.NSIG) if mask >> (number - 1) & 1}


@contextmanager
def background_commands() -> Iterator[Start]:
    """Yields a function that starts a command in the background, as a user would.

    What is left of the commands, and of the ranks of their --run, is killed at the end.
    """
    started: list[tuple[subprocess.Popen[str], Path]] = []

    def start(words: list[str], **environment: str) -> subprocess.Popen[str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        clean = {name: value for name, value in os.environ.items() if not name.startswith(OF_THIS_PROCESS)}
        process = subprocess.Popen(
            words,
            cwd=REPOSITORY,
            env=clean | {"PATH": path} | environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
        )
        started.append((process, Path(words[words.index("--run") + 1])))
        return process

    yield start
    for process, run_folder in started:
        process.kill()
        for pid in ranks_of(run_folder):
            os.kill(pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
