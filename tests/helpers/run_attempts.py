"""Training runs in processes that are forked off a warm one, and harmed at a file operation of choice.

An attempt takes a third of a second where a command takes ten: what each attempt would import, a server process has
imported. It is a real process otherwise, with its own signals, file locks and exit code.
"""

import errno
import fcntl
import multiprocessing
import os
import resource
import signal
import sys
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, TypeAlias

# What the server imports before it forks: all that a run does.
PRELOADED = ["helpers.run_attempts", "helpers.warm"]

Harm: TypeAlias = Literal["none", "kill", "stop", "full disk", "short file"]

OPERATIONS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "shutil.rmtree")
SHORT_FILE_BYTES = 700  # of the run's files, most are shorter and a few longer
PATIENCE_SECONDS = 60
PIPE_BYTES = 1 << 20  # more than an attempt prints


@dataclass(frozen=True)
class Fault:
    """What happens to an attempt, and when."""

    harm: Harm = "none"
    operation: int = 0  # it begins at so many-th file operation in the run folder, from 1
    lasts: int = 1  # for so many operations, where it ends


@dataclass(frozen=True)
class Attempt:
    """How an attempt ended."""

    code: int  # the exit code, or minus the signal
    output: str
    operations: list[str]  # the file operations in the run folder


def attempt(words: list[str], run_folder: Path, fault: Fault) -> Attempt:
    """Runs one attempt with the flags `words` in a process of its own."""
    _start_server()
    context = multiprocessing.get_context("forkserver")
    # Pipes, since a limit on the size of files must not cut what the process prints.
    output, output_end = context.Pipe(duplex=False)
    operations, operations_end = context.Pipe(duplex=False)
    for end in (output_end, operations_end):
        fcntl.fcntl(end.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    process = context.Process(target=_run, args=(words, run_folder, fault, output_end, operations_end))
    process.start()
    output_end.close()
    operations_end.close()
    process.join(PATIENCE_SECONDS)
    assert process.exitcode is not None, "hangs"
    return Attempt(process.exitcode, _read_all(output), _read_all(operations).splitlines())


def _read_all(pipe: Connection) -> str:
    """What a process has written to a pipe before it ended."""
    with os.fdopen(os.dup(pipe.fileno()), "rb") as file:
        return file.read().decode()


def _start_server() -> None:
    """Starts the process that attempts are forked off, unless it runs; Python 3.11's own start forgets `sys.path`."""
    multiprocessing.set_forkserver_preload(PRELOADED)
    path_before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    try:
        forkserver.ensure_running()
    finally:
        del os.environ["PYTHONPATH"]
        if path_before is not None:
            os.environ["PYTHONPATH"] = path_before


def _run(words: list[str], run_folder: Path, fault: Fault, output: Connection, operations: Connection) -> None:
    """Does what the command does, in the forked process, which it ends."""
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    _harm(run_folder, fault, operations.fileno())

    from asrscale.common import cli
    from asrscale.train import run
    from asrscale.training.config import TrainConfig, train_config

    cli.run(TrainConfig, run, words, build=train_config)


def _harm(run_folder: Path, fault: Fault, log: int) -> None:
    """Counts the file operations of this process in the run folder from now on, and does the fault's harm."""
    prefix = str(run_folder)
    own_process = os.getpid()
    done = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal done
        if event not in OPERATIONS or os.getpid() != own_process:
            return
        path = arguments[0]
        if not isinstance(path, (str, os.PathLike)) or not os.fspath(path).startswith(prefix):
            return
        is_read = event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if is_read or os.fspath(path).endswith("/lock"):
            return
        done += 1
        os.write(log, f"{event} {os.path.relpath(path, prefix)}\n".encode())
        since = done - fault.operation
        if fault.harm == "kill" and since == 0:
            os.kill(own_process, signal.SIGKILL)
        if fault.harm == "stop" and since == 0:
            os.kill(own_process, signal.SIGTERM)
        if fault.harm == "full disk" and 0 <= since < fault.lasts and event in ("open", "os.mkdir"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(path))
        if fault.harm == "short file" and since in (0, fault.lasts):
            limit = SHORT_FILE_BYTES if since == 0 else resource.RLIM_INFINITY
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    sys.addaudithook(watch)
