"""What a rank's main thread and its watching thread exchange: progress one way, requests to stop the other."""

from dataclasses import dataclass
from pathlib import Path

from asrscale.training.memory_rescue import PassCap

PREEMPTED_FILE = "PREEMPTED"


@dataclass
class Watch:
    """What the main thread and the watching thread tell each other."""

    folder: Path  # the run folder
    stopping: bool = False  # somebody asked this process to stop
    doing: str = "starting"  # what the main thread is at: or `loading`, `training`, `evaluating`, `saving`, `ending`
    step: int = 0  # which step it is at
    beats: int = 0  # how often it has come further
    busy_seconds: float = 0.0  # what a step lately took it, without its waiting for other ranks
    rank: int | None = None  # of this process, once the run folder is its run's
    world_size: int = 1
    hang_seconds: float = 600.0  # how long no rank may come further
    cap: PassCap | None = None  # outdated by a rank whose memory did not suffice: then all leave
    restarts: int = 0  # how often they may then start again by themselves

    def beat(self, doing: str | None = None, step: int | None = None) -> bool:
        """Tells that the main thread has come further; returns whether a stop was asked for."""
        self.beats += 1
        self.doing = doing or self.doing
        self.step = self.step if step is None else step
        return self.stopping

    def mark_preempted(self) -> None:
        """Leaves RUN/PREEMPTED: to be started again. Batch scripts look for it; the next start removes it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / PREEMPTED_FILE).write_text("stopped on request; start it again with the same command\n")
