"""What a rank's main thread and its watching thread exchange: progress one way, requests to stop the other."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from asrscale.training.memory_rescue import PassCap

Activity: TypeAlias = Literal["starting", "loading", "training", "evaluating", "saving", "ending"]


@dataclass
class Watch:
    """What the two threads share: the main thread writes its progress, the watching thread sets `stopping`."""

    folder: Path  # the run folder
    stopping: bool = False  # whether this process was requested to stop
    doing: Activity = "starting"  # what the main thread is doing
    step: int = 0  # the step that it is at
    beats: int = 0  # how often it has made progress
    busy_seconds: float = 0.0  # what a step lately took this rank, without its waiting for other ranks
    rank: int | None = None  # of this process, once the run folder belongs to its run
    holds_unfinished_run: bool = False  # whether the run folder is locked by this run, which is not complete
    world_size: int = 1
    hang_seconds: float = 600.0  # how long it may take until any rank makes progress
    cap: PassCap | None = None  # outdated by a rank whose memory did not suffice: then all ranks exit
    restarts: int = 0  # how often they may then start again by themselves
    deadline: float = math.inf  # the latest start of a step, on the monotonic clock

    def beat(self, doing: Activity | None = None, step: int | None = None) -> bool:
        """Records that the main thread has made progress; returns whether this process was requested to stop."""
        self.beats += 1
        if doing is not None:
            self.doing = doing
        if step is not None:
            self.step = step
        return self.stopping
