"""What started this process: deepspeed, torchrun, srun, or a person with plain python."""

import contextlib
from pathlib import Path

import psutil

# Words at the beginning of a launcher's command line: a program, or a module that Python runs.
_LAUNCHERS = {"deepspeed", "torchrun", "deepspeed.launcher.launch", "torch.distributed.run"}
_LAUNCHER_WORDS = 5


def find_launchers() -> list[psutil.Process]:
    """Returns the launcher processes right above this one, the nearest first: none under srun or a shell."""
    found = []
    with contextlib.suppress(psutil.Error):  # gone by now, or another user's
        for process in psutil.Process().parents():
            words = [Path(word).name for word in process.cmdline()[:_LAUNCHER_WORDS]]
            if _LAUNCHERS.isdisjoint(words):
                break
            found.append(process)
    return found


def is_running(process: psutil.Process) -> bool:
    """Whether a process that was found earlier still runs: it is neither a zombie nor another one of the same id."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False
