"""What happens to a run whose memory does not suffice: its passes get shorter, and the step is done again.

    RUN/rescues.jsonl   a line each time: step, rank, the cap from then on, the run's settings, whether all ranks exit

One rank, and ranks that reduce after their passes (ZeRO 0 and 1), take the step again in place. Ranks that meet inside
of a pass (ZeRO 2 and 3) cannot: there the rank writes its line, which all ranks look for, and all exit to be started
again. A run that is started with the same settings keeps to the lowest cap of the file; with other settings it ignores
these lines.
"""

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asrscale.common.atomic_files import append_jsonl, read_jsonl
from asrscale.common.errors import CliError
from asrscale.speech.pcm import SAMPLE_RATE_HZ

RESCUES_FILE = "rescues.jsonl"
MAX_RESCUES = 4  # each at least halves the cap: if a sixteenth of the plan is too much, shorter passes will be as well


class MemoryExhausted(CliError):
    """Memory does not suffice for the shortest passes either."""


@dataclass
class PassCap:
    """The most padded audio that a pass may hold: lowered each time that memory runs out in one."""

    path: Path  # of rescues.jsonl
    settings: dict[str, Any]  # all that memory depends on
    samples: int  # the cap; 0 once there is nothing less to try
    longest_samples: int  # of an utterance: there is no lower cap
    rescues: int = 0  # how often it was lowered

    @property
    def seconds(self) -> float:
        """The cap in seconds."""
        return self.samples / SAMPLE_RATE_HZ

    def lower(self, failed_samples: int, *, step: int, rank: int, report: bool = True, exit: bool = False) -> None:
        """Halves the cap until it is below a pass for which memory did not suffice.

        Args:
            failed_samples: The padded samples of that pass.
            step: The step that it belongs to, 1-based.
            rank: The rank that ran it.
            report: Whether to print this, and to write it to rescues.jsonl.
            exit: Whether this requests all ranks to exit, rather than to take the step again in place.

        Raises:
            MemoryExhausted: There is nothing less to try. Not with `exit`: the next start raises it.
        """
        self.samples = self._next_samples(failed_samples)
        self.rescues += 1
        if report:
            self._report(failed_samples, step=step, rank=rank, exit=exit)
        if not exit:
            self.check()

    def _next_samples(self, failed_samples: int) -> int:
        """The cap after a pass of `failed_samples` has failed; 0 where there is nothing less to try."""
        samples = self.samples
        while samples >= failed_samples:
            samples //= 2
        if samples >= self.longest_samples:
            return samples
        return self.longest_samples if self.longest_samples < failed_samples else 0

    def _report(self, failed_samples: int, *, step: int, rank: int, exit: bool) -> None:
        """Prints that memory ran out, and adds a line to rescues.jsonl."""
        failed_seconds = failed_samples / SAMPLE_RATE_HZ
        print(
            f"rank {rank}, step {step:,}: memory ran out in a pass of {failed_seconds:g} s; next {self.seconds:g} s",
            file=sys.stderr,
            flush=True,
        )
        row = {
            "step": step,
            "rank": rank,
            "memory_cap_seconds": self.seconds,
            "settings": self.settings,
            "leave": exit,
        }
        append_jsonl(self.path, [row], {})

    def check(self) -> None:
        """Raises MemoryExhausted where there is nothing left to try."""
        if not self.samples:
            raise MemoryExhausted(f"memory ran out in a pass of one utterance ({self.path})")
        if self.rescues > MAX_RESCUES:
            raise MemoryExhausted(f"memory ran out {self.rescues} times with ever shorter passes ({self.path})")

    def rows(self) -> list[dict[str, Any]]:
        """Reads the whole lines of rescues.jsonl that have the settings of this run."""
        own = [row for row in read_jsonl(self.path) if row.get("settings") == self.settings]
        return [row for row in own if _is_whole(row)]

    def is_outdated(self) -> bool:
        """Whether a rank has requested all to exit since this attempt began."""
        return any(row["leave"] and row["memory_cap_seconds"] < self.seconds for row in self.rows())


def _is_whole(row: dict[str, Any]) -> bool:
    cap_seconds = row.get("memory_cap_seconds")
    return isinstance(row.get("leave"), bool) and isinstance(cap_seconds, float) and math.isfinite(cap_seconds)


def open_pass_cap(folder: Path, settings: dict[str, Any], cap_seconds: float, longest_samples: int) -> PassCap:
    """Returns the cap to begin with: `cap_seconds`, or what earlier attempts have left of it.

    Args:
        folder: The run folder.
        settings: All that memory depends on.
        cap_seconds: The padded audio of a pass that was planned.
        longest_samples: The padded samples of the longest utterance.

    Raises:
        MemoryExhausted: Earlier attempts have left nothing to try.
    """
    cap = PassCap(
        path=folder / RESCUES_FILE,
        settings=settings,
        samples=int(cap_seconds * SAMPLE_RATE_HZ),
        longest_samples=longest_samples,
    )
    cap.path.touch()  # a shared file system may take long to show a new file
    # A set, since several ranks may have reported the same rescue.
    caps_before = {round(row["memory_cap_seconds"] * SAMPLE_RATE_HZ) for row in cap.rows()}
    cap.samples = min([cap.samples, *caps_before])
    cap.rescues = len(caps_before)
    cap.check()
    return cap
