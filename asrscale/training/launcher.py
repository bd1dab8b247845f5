"""What started this process: deepspeed, torchrun, srun, or a person with plain python."""

import contextlib
from pathlib import Path

import psutil

_LAUNCHERS = {"deepspeed", "torchrun", "deepspeed.launcher.launch", "torch.distributed.run"}


def find_launchers() -> list[psutil.Process]:
    """The launcher processes right above this one, the nearest first: none under srun or a shell."""
    found = []
    with contextlib.suppress(psutil.Error):  # gone by now, or another user's
        for process in psutil.Process().parents():
            if _LAUNCHERS.isdisjoint(Path(word).name for word in process.cmdline()[:5]):
                break
            found.append(process)
    return found


def is_running(process: psutil.Process) -> bool:
    """Whether a process found earlier is still that one, and no zombie."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False
