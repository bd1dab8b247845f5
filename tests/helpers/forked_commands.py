"""Commands in processes of their own that need no seconds to start: each is forked from one that has imported all.

`python tests/helpers/forked_commands.py` reads a request a line from stdin, and answers each with a line; see
`ForkedCommands`, which starts it.
"""

import importlib
import json
import os
import resource
import runpy
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parents[2]

# What commands import on their way, or when a function of theirs is first called.
_ALSO = ("aiohttp", "fsspec.implementations.http", "soxr", "av", "soundfile", "asrscale.common.http_client")


@dataclass(frozen=True)
class Ended:
    """A command that has ended.

    Attributes:
        code: Its exit code; negative for a signal, as -9 where it was killed at the limit in time.
        stdout: What it printed.
        stderr: What it printed there.
        seconds: How long it took.
        peak_bytes: The most memory that it, or a process of its own, had beyond what all were forked with.
    """

    code: int
    stdout: str
    stderr: str
    seconds: float
    peak_bytes: int


class ForkedCommands:
    """Runs commands; a context manager, which ends its process.

    Args:
        folder: For what they print.
        modules: Which there are.
    """

    def __init__(self, folder: Path, *modules: str) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        own = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, *modules],
            cwd=ROOT,
            env=os.environ | own,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "ForkedCommands":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def run(self, module: str, *words: object, limit_seconds: float = 60, data_bytes: int = 4 << 30) -> Ended:
        """Runs a module as `python -m` does.

        Args:
            module: Its name.
            words: What follows it on the command line.
            limit_seconds: After which it is killed, with the processes that it started.
            data_bytes: How much memory it may have of its own beyond what it was forked with.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        request = {
            "module": module,
            "words": [str(word) for word in words],
            "folder": str(self._folder),
            "limit_seconds": limit_seconds,
            "data_bytes": data_bytes,
        }
        print(json.dumps(request), file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline())
        printed = {name: (self._folder / name).read_text(errors="replace") for name in ("stdout", "stderr")}
        return Ended(**answer, **printed)


def _serve() -> None:
    """Answers requests until stdin ends."""
    for name in (*sys.argv[1:], *_ALSO):
        importlib.import_module(name)
    for line in sys.stdin:
        print(json.dumps(_run(json.loads(line))), flush=True)


def _run(request: dict[str, Any]) -> dict[str, float]:
    """Forks a command and waits for its end."""
    start_seconds = time.monotonic()
    base = os.path.join(request["folder"], "base")
    pid = os.fork()
    if pid == 0:
        _become(request)
    deadline_seconds = start_seconds + request["limit_seconds"]
    while True:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > deadline_seconds:
            os.killpg(pid, signal.SIGKILL)
            deadline_seconds += 1e9
        time.sleep(0.002)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": time.monotonic() - start_seconds,
        "peak_bytes": usage.ru_maxrss * 1024 - int(Path(base).read_text()),
    }


def _become(request: dict[str, Any]) -> None:
    """Turns this process into the command; never returns."""
    os.setsid()
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    for number, name in ((1, "stdout"), (2, "stderr")):
        descriptor = os.open(os.path.join(request["folder"], name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, number)
    Path(request["folder"], "base").write_text(str(_status_bytes("VmHWM")))
    limit = _status_bytes("VmData") + request["data_bytes"]
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    sys.argv = [request["module"], *request["words"]]
    sys.orig_argv = [sys.executable, "-m", *sys.argv]
    code = 1
    del sys.modules[request["module"]]
    try:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _status_bytes(name: str) -> int:
    """A size in /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    _serve()
