"""What stays the same from a run's first step to its last, and what its settings make due at a step."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from asrscale.augmentation.augment import Augmentation
from asrscale.common.distributed import World
from asrscale.common.shard_cache import Cache
from asrscale.data.index import Index
from asrscale.data.run_plan import RunPlan
from asrscale.memory.gpus import GIB
from asrscale.model.recognizer import Recognizer
from asrscale.model.regularisation import Regulariser
from asrscale.results.metrics import Metric
from asrscale.training.checkpoint import RunState
from asrscale.training.config import TrainConfig
from asrscale.training.memory_rescue import PassCap
from asrscale.training.recipe_settings import NOTHING_CHOSEN, Chosen
from asrscale.training.schedule import LearningRates, learning_rates_at
from asrscale.training.watch import Watch


@dataclass(frozen=True)
class RunContext:
    """What stays the same from the first step to the last."""

    config: TrainConfig  # resolved settings
    ds_config: dict[str, Any]  # the resolved configuration of DeepSpeed
    world: World  # this process among the ranks
    folder: Path  # the run folder
    recognizer: Recognizer  # the model being trained, which the engine wraps
    regulariser: Regulariser  # of that model
    plan: RunPlan  # the training data and their order
    content: Mapping[str, str]  # hashes of what is in the training and the validation data
    valid: Index  # all validation data
    valid_subset: Index  # the part of it that is transcribed while training
    total_steps: int  # length of the run
    watch: Watch  # progress of this rank, and requests to stop it
    cap: PassCap  # of the audio of a pass; the one thing here that changes
    predicted_bytes: float | None = None  # by torch's allocator, at most; None where nothing was planned
    cache: Cache | None = None  # copies of remote shards
    chosen: Chosen = NOTHING_CHOSEN  # which settings the recipe has chosen
    augmentation: Augmentation | None = None  # what is done to the sound of training
    unwritten: dict[Path, str] = field(default_factory=dict)  # lines of records that a full disk did not take

    @property
    def metric(self) -> Metric:
        """The error rate that decides which model is the best."""
        metric = self.config.evaluation.metric
        assert metric != "auto", "settings are resolved before a run begins"
        return metric

    def is_over(self, state: RunState) -> bool:
        """Whether the run has had all its steps and evaluations, or has stopped improving."""
        patience = self.config.evaluation.patience
        has_all_steps = self._has_last_step(state) and state.evaluated_step == state.step
        has_stopped_improving = 0 < patience <= state.stale_evaluations
        return has_all_steps or has_stopped_improving

    def evaluation_is_due(self, state: RunState) -> bool:
        """Whether the model of this step is to be evaluated, and has not been.

        Before the first step it is where it transcribes already: that is what the run has to beat.
        """
        if state.step == 0:
            return self.recognizer.transcribes and state.before is None
        is_due = state.step % self.config.evaluation.eval_steps == 0 or self._has_last_step(state)
        return is_due and state.evaluated_step < state.step

    def _has_last_step(self, state: RunState) -> bool:
        return state.step >= self.total_steps or state.is_out_of_time

    def is_warmed_up(self, step: int) -> bool:
        """Whether all that the run trains has been trained at the peak, before an evaluation after `step` steps."""
        settings = self.config.optimisation
        thawed = 0 if self.trains_head_only else settings.freeze_steps  # what is below the head warms up from then on
        return step > thawed + settings.warmup_steps

    def save_is_due(self, state: RunState) -> bool:
        """Whether this step is to be saved: on schedule, as the best so far, or as the last."""
        on_schedule = state.step % self.config.evaluation.save_steps == 0
        return on_schedule or state.step == state.best_step or self.is_over(state)

    def logging_is_due(self, step: int) -> bool:
        """Whether a line of metrics is to be written after `step` steps."""
        return step % self.config.tracking.log_steps == 0 or step == self.total_steps

    def learning_rates(self, step: int) -> LearningRates:
        """The learning rates of step `step`, 0-based."""
        return learning_rates_at(
            step,
            schedule=self.config.optimisation.schedule,
            peak=self.config.optimisation.learning_rate,
            warmup_steps=self.config.optimisation.warmup_steps,
            freeze_steps=self.config.optimisation.freeze_steps,
            total_steps=self.total_steps,
        )

    @property
    def trains_head_only(self) -> bool:
        """Whether no step of the run trains more than the head."""
        return 0 < self.total_steps <= self.config.optimisation.freeze_steps

    def memory_summary(self) -> str:
        """The cap on a pass, and the predicted and measured peak of memory on this rank's GPU, as text."""
        text = f"passes of up to {self.cap.seconds:g} s"
        if self.predicted_bytes:
            text += f", {self.predicted_bytes / GIB:.2f} GiB predicted"
        measured_bytes = torch.cuda.max_memory_allocated()  # 0 without a GPU
        if measured_bytes:
            text += f", {measured_bytes / GIB:.2f} GiB measured"
        return text
