"""What a step computes, whatever the hardware: the input of the memory planner."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Workload:
    """The settings of a run that decide what its steps compute and keep in memory."""

    model: str  # a Hugging Face id or folder, an architecture's name, or a config.json file
    dtype: torch.dtype  # that the model computes in
    step_seconds: float  # padded audio of an optimizer step, on all ranks together
    attention: str = "auto"
    dropout: float | None = None  # None keeps the checkpoint's own
    lora_rank: int = 0  # 0 trains all weights
    freeze_feature_encoder: bool = True
