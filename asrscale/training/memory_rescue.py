"""What becomes of a run whose memory does not suffice: its passes get shorter, and what was going on is done again.

    RUN/rescues.jsonl   a line each time: step, rank, the cap from then on, and the settings that it was met with

One rank, and ranks that reduce after their passes (ZeRO 0 and 1), take the step again in place. Ranks that meet inside
of a pass (ZeRO 2 and 3) cannot: there the rank writes its line, which all ranks look for, and all leave to be started
again. Who starts with the same settings keeps to the lowest cap of the file; for other settings it says nothing.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asrscale.common.atomic_files import append_jsonl, read_jsonl
from asrscale.common.errors import CliError
from asrscale.speech.pcm import SAMPLE_RATE_HZ

MAX_RESCUES = 4  # each halves the cap at least: what a sixteenth of the plan does not mend, shorter passes will not


class MemoryExhausted(CliError):
    """Memory does not suffice for the shortest passes either."""


@dataclass
class PassCap:
    """The most padded audio of a pass, and what may become of it."""

    path: Path  # of rescues.jsonl
    settings: dict[str, Any]  # all that memory depends on
    samples: int  # now; 0 where there is nothing less to try
    longest_samples: int  # of an utterance: there is no lower cap
    rescues: int = 0  # how often it was lowered

    @property
    def seconds(self) -> float:
        """The cap in seconds."""
        return self.samples / SAMPLE_RATE_HZ

    def lower(self, failed_samples: int, *, step: int, rank: int, tell: bool = True, leave: bool = False) -> None:
        """Halves the cap until a pass that did not fit exceeds it, and may `tell`; to `leave` is for all ranks.

        Raises:
            MemoryExhausted: There is nothing less to try, and nobody leaves, to hear of that at the next start.
        """
        while self.samples >= failed_samples:
            self.samples //= 2
        if self.samples < self.longest_samples:
            self.samples = self.longest_samples if self.longest_samples < failed_samples else 0
        self.rescues += 1
        if tell:
            failed = f"memory ran out in a pass of {failed_samples / SAMPLE_RATE_HZ:g} s"
            print(f"rank {rank}, step {step:,}: {failed}; next {self.seconds:g} s", file=sys.stderr, flush=True)
            row = {"step": step, "rank": rank, "memory_cap_seconds": self.seconds, "settings": self.settings}
            append_jsonl(self.path, [row | {"leave": leave}], {})
        if not leave:
            self.check()

    def check(self) -> None:
        """Raises MemoryExhausted where there is nothing left to try."""
        if not self.samples or self.rescues > MAX_RESCUES:
            tried = f"{self.rescues} times with ever shorter passes" if self.samples else "in a pass of one utterance"
            raise MemoryExhausted(f"memory ran out {tried} ({self.path})")

    def rows(self) -> list[dict[str, Any]]:
        """The lines of these settings."""
        return [row for row in read_jsonl(self.path) if row["settings"] == self.settings]

    def is_outdated(self) -> bool:
        """Whether a rank has told all to leave since this attempt began."""
        return any(row["leave"] and row["memory_cap_seconds"] < self.seconds for row in self.rows())


def open_pass_cap(folder: Path, settings: dict[str, Any], cap_seconds: float, longest_samples: int) -> PassCap:
    """The cap to begin with: `cap_seconds`, or what former attempts have left of it.

    Raises:
        MemoryExhausted: They have left nothing to try.
    """
    cap = PassCap(folder / "rescues.jsonl", settings, int(cap_seconds * SAMPLE_RATE_HZ), longest_samples)
    cap.path.touch()  # a shared file system may take long to show a new file
    found = {round(row["memory_cap_seconds"] * SAMPLE_RATE_HZ) for row in cap.rows()}  # ranks may tell of one together
    cap.samples, cap.rescues = min([cap.samples, *found]), len(found)
    cap.check()
    return cap
