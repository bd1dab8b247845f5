"""Sums up the numbers of one line of metrics.jsonl."""

import math
import resource
import time
from collections import Counter
from dataclasses import dataclass, field

import torch
from torch import Tensor

from asrscale.common import distributed
from asrscale.data.step_reader import Step
from asrscale.speech.pcm import SAMPLE_RATE_HZ
from asrscale.training.checkpoint import RunState
from asrscale.training.run_context import RunContext
from asrscale.training.tracking import Values


@dataclass
class Meter:
    """Adds up what one line of metrics.jsonl tells."""

    loss: Tensor | float = 0.0  # of the steps that are `counted`
    gradient_norm: float | None = None  # of the last step
    counts: Counter[str] = field(default_factory=Counter)  # of `steps`, those `counted` or `skipped`, samples …
    waiting_seconds: float = 0.0  # for data
    forward_seconds: float = 0.0  # on a GPU, of the host, which starts the work and may run ahead of it
    started: float = field(default_factory=time.perf_counter)

    def add(self, step: Step, damaged: int, loss: Tensor, gradient_norm: float | None, waiting_seconds: float) -> None:
        """Counts a step with `damaged` utterances on all ranks; `loss` is this rank's share of it.

        The norm is None where no utterance was good, and not finite where the step was skipped.
        """
        finite = gradient_norm is not None and math.isfinite(gradient_norm)
        skipped = gradient_norm is not None and not finite
        self.counts.update(steps=1, counted=finite, skipped=skipped, damaged=damaged)
        self.counts.update(audio=step.audio_samples, padded=step.padded_samples)
        self.gradient_norm = gradient_norm
        self.loss = self.loss + loss if finite else self.loss
        self.waiting_seconds += waiting_seconds

    @property
    def busy_seconds(self) -> float:
        """Of a step, what this rank does by itself: in the rest of it all wait for the slowest."""
        return (self.waiting_seconds + self.forward_seconds) / self.counts["steps"]

    def values(self, job: RunContext, state: RunState) -> Values:
        """The numbers since the meter was made, up to `state`; a collective."""
        seconds, counts, ranks = time.perf_counter() - self.started, self.counts, job.world.world_size
        host_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts it in KiB
        device_bytes = torch.cuda.max_memory_allocated()  # 0 without a GPU
        own = float(self.loss), self.waiting_seconds, self.busy_seconds, host_bytes, device_bytes
        loss, waiting, busy, host, device = zip(*distributed.gather_objects(own, job.world), strict=True)
        slowest = max(range(ranks), key=busy.__getitem__)
        return {
            "train/loss": math.fsum(loss) / counts["counted"] if counts["counted"] else None,
            "train/learning_rate": job.learning_rate(state.step - 1),
            "train/gradient_norm": self.gradient_norm,
            "train/epoch": state.step / job.plan.steps_per_epoch,
            "train/audio_seconds_per_second": counts["audio"] / SAMPLE_RATE_HZ / seconds,
            "train/padding": 1 - counts["audio"] / max(1, counts["padded"]),
            "train/damaged": counts["damaged"],
            "train/skipped": counts["skipped"],
            "train/waiting": math.fsum(waiting) / ranks / seconds,
            "speed/step_seconds": seconds / counts["steps"],
            "speed/rank_seconds": busy,
            "speed/slowest_rank": slowest,
            "speed/slowest_rank_behind_seconds": busy[slowest] - math.fsum(busy) / ranks,
            "memory/host_bytes": max(host),
            "memory/device_bytes": max(device),
            "memory/predicted_bytes": job.predicted_bytes,
            "memory/cap_seconds": job.cap.seconds,
            "run/restarts": state.restarts,
            "run/rescues": job.cap.rescues,
        }
