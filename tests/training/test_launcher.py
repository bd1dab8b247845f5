"""Which processes above this one are launchers, and whether they still run."""

import subprocess
import sys
from pathlib import Path

import psutil
from helpers.processes import wait_for

from asrscale.training.launcher import find_launchers, is_running


def test_a_shell_whose_command_mentions_a_launcher_is_none(tmp_path: Path) -> None:
    code = "import sys; from asrscale.training.launcher import find_launchers; print(len(find_launchers()))"
    for command, expected in (("bash", 0), ("torchrun", 1)):
        link = tmp_path / command
        link.symlink_to("/bin/bash")
        words = [str(link), "-c", f"{sys.executable} -c '{code}'; : torchrun deepspeed"]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        assert int(done.stdout) == expected, done.stdout
    assert find_launchers() == []


def test_a_zombie_does_not_run() -> None:
    child = subprocess.Popen(["sleep", "1000"])
    process = psutil.Process(child.pid)
    assert is_running(process)
    child.kill()
    wait_for(lambda: not is_running(process))
    child.wait()
    assert not is_running(process)
