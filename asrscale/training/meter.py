"""Sums up the numbers of one line of metrics.jsonl."""

import math
import resource
import time
from collections import Counter
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from asrscale.common import distributed
from asrscale.common.distributed import World
from asrscale.data.step_reader import Step
from asrscale.speech.pcm import SAMPLE_RATE_HZ
from asrscale.training.checkpoint import RunState, Unlogged
from asrscale.training.run_context import RunContext
from asrscale.training.tracking import Values


@dataclass(frozen=True)
class _RankNumbers:
    """What one rank has measured."""

    waiting_seconds: float
    busy_seconds: float
    host_bytes: int
    device_bytes: int


@dataclass
class Meter:
    """Adds up what one line of metrics.jsonl holds, over the steps since the line before.

    What an attempt before this one did of them counts too, but for speeds.
    """

    before: Unlogged = field(default_factory=Unlogged)  # what the attempts before did of the line's steps
    steps: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)  # of the steps: how many were `counted`, or `skipped`
    damaged: int = 0  # utterances
    audio_samples: int = 0
    padded_samples: int = 0
    loss: Tensor | float = 0.0  # this rank's share of that of the counted steps
    gradient_norm: float | None = None  # of the last step
    waiting_seconds: float = 0.0  # for data
    forward_seconds: float = 0.0  # on a GPU, of the host, which starts the work and may run ahead of it
    started: float = field(default_factory=time.perf_counter)

    def add(self, step: Step, damaged: int, loss: Tensor, gradient_norm: float | None, waiting_seconds: float) -> None:
        """Adds a step.

        Args:
            step: What was computed.
            damaged: How many of its utterances are damaged, on all ranks.
            loss: This rank's share of the step's.
            gradient_norm: None where no utterance was good, and not finite where the step was skipped.
            waiting_seconds: How long this rank waited for data in the step, which may be those of the next one.
        """
        self.steps += 1
        self.damaged += damaged
        self.audio_samples += step.audio_samples
        self.padded_samples += step.padded_samples
        self.gradient_norm = gradient_norm
        self.waiting_seconds += waiting_seconds
        is_finite = gradient_norm is not None and math.isfinite(gradient_norm)
        is_skipped = gradient_norm is not None and not is_finite
        self.outcomes.update(counted=is_finite, skipped=is_skipped)
        if is_finite:
            self.loss = self.loss + loss

    def restart(self) -> None:
        """Begins the next line."""
        vars(self).update(vars(Meter()))

    def unlogged(self, world: World) -> Unlogged:
        """Returns what the steps of the line add up to so far, over all ranks. A collective."""
        loss = math.fsum(distributed.gather_objects(float(self.loss), world))
        return Unlogged(
            counted_steps=self.before.counted_steps + self.outcomes["counted"],
            skipped_steps=self.before.skipped_steps + self.outcomes["skipped"],
            damaged=self.before.damaged + self.damaged,
            audio_samples=self.before.audio_samples + self.audio_samples,
            padded_samples=self.before.padded_samples + self.padded_samples,
            loss=self.before.loss + loss,
        )

    @property
    def busy_seconds(self) -> float:
        """Of a step, what this rank does by itself: in the rest of it all wait for the slowest."""
        return (self.waiting_seconds + self.forward_seconds) / self.steps

    def values(self, context: RunContext, state: RunState) -> Values:
        """Returns the numbers since the last line, up to `state`. A collective."""
        seconds = time.perf_counter() - self.started
        gathered = distributed.gather_objects(asdict(self._own_numbers()), context.world)
        ranks = [_RankNumbers(**numbers) for numbers in gathered]
        busy = tuple(rank.busy_seconds for rank in ranks)
        mean_busy_seconds = math.fsum(busy) / len(ranks)
        slowest = max(range(len(ranks)), key=busy.__getitem__)
        waiting_seconds = math.fsum(rank.waiting_seconds for rank in ranks) / len(ranks)
        line = self.unlogged(context.world)
        return {
            "train/loss": line.loss / line.counted_steps if line.counted_steps else None,
            "train/learning_rate": context.learning_rates(state.step - 1).head,
            "train/gradient_norm": self.gradient_norm,
            "train/epoch": state.step / context.plan.steps_per_epoch,
            "train/audio_seconds_per_second": self.audio_samples / SAMPLE_RATE_HZ / seconds,
            "train/padding": 1 - line.audio_samples / max(1, line.padded_samples),
            "train/damaged": line.damaged,
            "train/skipped": line.skipped_steps,
            "train/waiting": waiting_seconds / seconds,
            "speed/step_seconds": seconds / self.steps,
            "speed/rank_seconds": busy,
            "speed/slowest_rank": slowest,
            "speed/slowest_rank_behind_seconds": busy[slowest] - mean_busy_seconds,
            "memory/host_bytes": max(rank.host_bytes for rank in ranks),
            "memory/device_bytes": max(rank.device_bytes for rank in ranks),
            "memory/predicted_bytes": context.predicted_bytes,
            "memory/cap_seconds": context.cap.seconds,
            "run/restarts": state.restarts,
            "run/rescues": context.cap.rescues,
        }

    def _own_numbers(self) -> _RankNumbers:
        return _RankNumbers(
            waiting_seconds=self.waiting_seconds,
            busy_seconds=self.busy_seconds,
            host_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,  # Linux counts it in KiB
            device_bytes=torch.cuda.max_memory_allocated(),  # 0 without a GPU
        )
