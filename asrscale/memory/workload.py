"""What a step computes, whatever the hardware."""

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from asrscale.memory.cuda_kernels import CudaSemantics
from asrscale.memory.pass_cost import PassCost, trace_pass
from asrscale.model.building import build_meta_recognizer
from asrscale.model.freezing import checkpoint_activations, freeze_feature_encoder, held_below_head
from asrscale.model.lora import add_lora
from asrscale.model.recognizer import Recognizer
from asrscale.model.regularisation import attach_regulariser


@dataclass(frozen=True)
class Workload:
    """The settings of a run that decide what its steps compute and keep in memory."""

    model: str  # a Hugging Face id or folder, an architecture's name, or a config.json file
    dtype: torch.dtype  # that the model computes in
    step_seconds: float  # padded audio of an optimizer step, on all ranks together
    attention: str = "auto"
    dropout: float | None = None  # None keeps the checkpoint's own
    lora_rank: int = 0  # 0 trains all weights
    language: str = ""  # of a model of many
    train_adapter: bool = False  # whether only the adapter and the head of that are trained
    freeze_feature_encoder: bool = True
    keeps_average: bool = False  # a moving average of the trained weights
    layerdrop: float = 0.0  # share of layers that are dropped
    head_only: bool = False  # whether no step trains more than the head


@dataclass(frozen=True)
class Sketch:
    """The model of a run without its weights, and what passes of it cost on a GPU."""

    recognizer: Recognizer
    costs: list[PassCost]  # for each length of an utterance, the longest last
    without_layers: PassCost | None  # of the longest, with all layers dropped; None where none ever is

    @property
    def longest(self) -> PassCost:
        """The cost of passes of the longest utterances."""
        return self.costs[-1]


def sketch(
    workload: Workload,
    activation_checkpointing: int,
    lengths_seconds: Iterable[float],
) -> Sketch:
    """Returns the model of a run without its weights, and what passes of it cost on a GPU.

    Args:
        workload: The settings of the run.
        activation_checkpointing: Every so many-th layer is recomputed; 0 none.
        lengths_seconds: Utterance lengths.
    """
    recognizer = build_meta_recognizer(
        workload.model,
        dtype=workload.dtype,
        language=workload.language,
        train_adapter=workload.train_adapter,
        attention=workload.attention,
        dropout=workload.dropout,
    )
    if workload.lora_rank:
        with torch.device("meta"):
            add_lora(recognizer.model, workload.lora_rank)
        recognizer.model.to(workload.dtype)
    if workload.freeze_feature_encoder:
        freeze_feature_encoder(recognizer.model)
    checkpoint_activations(recognizer.model, activation_checkpointing)

    # trace_pass sets the masks: the probabilities decide nothing here.
    model = recognizer.model
    regulariser = attach_regulariser(model, mask_time_prob=1.0, mask_feature_prob=0.0, layerdrop=0.0)
    without_layers = None
    with held_below_head(model) if workload.head_only else nullcontext():
        costs = [trace_pass(recognizer, seconds, regulariser, CudaSemantics()) for seconds in sorted(lengths_seconds)]
        if workload.layerdrop:
            regulariser.dropped_layers = frozenset(range(model.config.num_hidden_layers))
            without_layers = trace_pass(recognizer, costs[-1].seconds, regulariser, CudaSemantics())
    return Sketch(recognizer=recognizer, costs=costs, without_layers=without_layers)
