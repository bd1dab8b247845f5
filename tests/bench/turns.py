"""Processes that take turns: a parent lets one at a time take a block of steps, and reads what the block cost.

Others that use the machine then slow all of them alike. A child reports in JSON lines on its stdout and waits for a
line on its stdin before it goes on.
"""

import json
import os
import resource
import subprocess
import sys
import time


def take_turn(processes: list["subprocess.Popen[str]"]) -> list[dict[str, float]]:
    """Lets processes take a block of steps, all at once; returns what each reports."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return wait(processes)


def wait(processes: list["subprocess.Popen[str]"]) -> list[dict[str, float]]:
    """Returns the reports of a block."""
    reports = []
    for process in processes:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"a process has ended: see the logs beside {process.args[-1]}"  # type: ignore[index]
        reports.append(json.loads(line))
    return reports


class Turns:
    """What a child counts: reports blocks of steps and waits for the parent in between."""

    def __init__(self, block_steps: int, warm_up_steps: int) -> None:
        self.block_steps, self.warm_up_steps = block_steps, warm_up_steps
        self.steps, self.audio = 0, 0
        self.report = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # what a run prints is no report

    def begin(self) -> None:
        """Says that the first step is next; without steps to warm up, it waits there for the first turn."""
        if self.warm_up_steps == 0:
            self._report(first=True)

    def step_done(self, audio_samples: int) -> None:
        """Counts a step; at the end of a block it reports and waits."""
        self.steps += 1
        self.audio += audio_samples
        done = self.steps - self.warm_up_steps
        if done == 0 or (done > 0 and done % self.block_steps == 0):
            self._report(first=done == 0)

    def _report(self, *, first: bool) -> None:
        seconds = dict.fromkeys(self._used(), 0.0) if first else self._since_turn()
        print(json.dumps(seconds | {"audio": self.audio}), file=self.report, flush=True)
        at_report = self._used()
        sys.stdin.readline()
        # What runs while this process waits, such as reading ahead, belongs to its steps, too.
        self.before = self._used() if first else at_report | {"clock": time.perf_counter()}
        self.audio = 0

    def _since_turn(self) -> dict[str, float]:
        return {name: now - self.before[name] for name, now in self._used().items()}

    def _used(self) -> dict[str, float]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "cpu": usage.ru_utime + usage.ru_stime,
            "system": usage.ru_stime,
            "faults": usage.ru_minflt,
            "clock": time.perf_counter(),
        }
