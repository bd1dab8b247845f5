"""What stays the same from a run's first step to its last."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from asrscale.common.distributed import World
from asrscale.common.shard_cache import Cache
from asrscale.data.index import Index
from asrscale.data.run_plan import RunPlan
from asrscale.model.recognizer import Recognizer
from asrscale.model.regularisation import Regulariser
from asrscale.training.checkpoint import RunState
from asrscale.training.config import TrainConfig
from asrscale.training.memory_rescue import PassCap
from asrscale.training.schedule import learning_rate_at
from asrscale.training.watch import Watch


@dataclass(frozen=True)
class RunContext:
    """What stays the same from the first step to the last."""

    config: TrainConfig  # resolved settings
    world: World  # who this process is
    folder: Path  # the run folder
    recognizer: Recognizer  # the model being trained, which the engine wraps
    regulariser: Regulariser  # of that model
    plan: RunPlan  # the training data and their order
    valid: Index  # the subset that is transcribed while training
    total_steps: int  # length of the run
    watch: Watch  # tells when somebody wants the run to stop
    cap: PassCap  # of the audio of a pass; the one thing here that changes
    predicted_bytes: float | None = None  # by torch's allocator, at most; None where nothing was planned
    cache: Cache | None = None  # where shards are copied to
    unwritten: dict[Path, str] = field(default_factory=dict)  # lines of records that a full disk did not take

    def is_over(self, state: RunState) -> bool:
        """Whether the run has had all its steps and evaluations, or has stopped improving."""
        ended = state.step >= self.total_steps and state.evaluated_step == state.step
        return ended or 0 < self.config.evaluation.patience <= state.stale_evaluations

    def evaluation_is_due(self, state: RunState) -> bool:
        """Whether the model of this step is to be evaluated, and has not been."""
        due = state.step % self.config.evaluation.eval_steps == 0 or state.step >= self.total_steps
        return due and state.evaluated_step < state.step

    @property
    def evaluating(self) -> dict[str, Any]:
        """What every evaluation of this run tells `evaluate`."""
        threads = self.config.data.decode_threads
        should_stop = partial(self.watch.beat, "evaluating")
        return dict(memory_cap_seconds=self.cap.seconds, threads=threads, cache=self.cache, should_stop=should_stop)

    def told_memory(self) -> str:
        """The cap, the peak that was predicted for it, and what there was so far on this rank's GPU."""
        peaks = {"predicted": self.predicted_bytes, "measured": torch.cuda.max_memory_allocated()}
        told = [f"{size / 2**30:.2f} GiB {how}" for how, size in peaks.items() if size]
        return ", ".join([f"passes of up to {self.cap.seconds:g} s", *told])

    def learning_rate(self, step: int) -> float:
        """The learning rate of a step."""
        rate, warmup = self.config.optimisation.learning_rate, self.config.optimisation.warmup_steps
        schedule, total = self.config.optimisation.schedule, self.total_steps
        return learning_rate_at(step, schedule=schedule, peak=rate, warmup_steps=warmup, total_steps=total)
