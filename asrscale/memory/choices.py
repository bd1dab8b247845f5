"""Every way to run a model on some GPUs: what fits, and how fast it is."""

import math
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, TypeAlias

import torch

from asrscale.memory import deepspeed_states
from asrscale.memory.cuda_kernels import CudaSemantics
from asrscale.memory.deepspeed_states import States
from asrscale.memory.gpus import Gpu
from asrscale.memory.pass_cost import PassCost, trace_pass
from asrscale.memory.timing import operation_seconds, transfer_seconds
from asrscale.memory.workload import Workload
from asrscale.model.building import build_meta_recognizer
from asrscale.model.freezing import checkpoint_activations, freeze_feature_encoder
from asrscale.model.lora import add_lora
from asrscale.model.recognizer import Recognizer
from asrscale.model.regularisation import attach_regulariser

ZeroSection: TypeAlias = Mapping[str, Any]  # "zero_optimization" of a resolved DeepSpeed configuration

CHECKPOINTING = {0: "no checkpointing", 4: "every 4th layer", 2: "every 2nd layer", 1: "every layer"}


@dataclass(frozen=True, eq=False)
class Choice:
    """A way to run, and what comes of it."""

    gpu: Gpu
    gpus: int
    config: str  # a file
    activation_checkpointing: int
    cap_seconds: float  # padded audio of a pass, at the length that allows least; 0 where the longest does not fit
    utterances: dict[float, int]  # how many of some lengths fit
    pass_utterances: int  # the longest ones of the largest pass of a step: those below are for it
    step_seconds: float  # of an optimizer step, estimated
    audio_seconds_per_second: float  # on all GPUs
    peak_bytes: dict[str, float]  # of a GPU, by what it is made of
    host_bytes: dict[str, float]  # of the memory beside the GPU, for the rank that writes checkpoints
    states: States
    longest: PassCost

    @property
    def flags(self) -> str:
        """What launch/train.py is told."""
        checkpointing = f"--activation_checkpointing {self.activation_checkpointing}"
        return f"--config {shlex.quote(self.config)} {checkpointing} --memory_cap_seconds {self.cap_seconds}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        shown = {name: value for name, value in vars(self).items() if name not in ("states", "longest")}
        return shown | {"gpu": asdict(self.gpu), "flags": self.flags}


def sketch(
    workload: Workload, activation_checkpointing: int, lengths_seconds: Iterable[float], semantics: CudaSemantics
) -> tuple[Recognizer, list[PassCost]]:
    """The model of a run without its weights, and the cost of passes of each length, the longest last."""
    recognizer = build_meta_recognizer(
        workload.model, dtype=workload.dtype, attention=workload.attention, dropout=workload.dropout
    )
    if workload.lora_rank:
        with torch.device("meta"):
            add_lora(recognizer.model, workload.lora_rank)
        recognizer.model.to(workload.dtype)
    regulariser = attach_regulariser(recognizer.model, mask_time_prob=1.0, mask_feature_prob=0.0, layerdrop=0.0)
    if workload.freeze_feature_encoder:
        freeze_feature_encoder(recognizer.model)
    checkpoint_activations(recognizer.model, activation_checkpointing)
    costs = [trace_pass(recognizer, seconds, regulariser, semantics) for seconds in sorted(lengths_seconds)]
    return recognizer, costs


def cap_of(costs: Sequence[PassCost], budget_bytes: float) -> int:
    """The most padded seconds of a pass whose activations fit, of any length; 0 where the longest does not fit."""
    cap_seconds = min(cost.max_utterances(budget_bytes) * cost.seconds for cost in costs)
    return math.floor(cap_seconds) if cap_seconds >= costs[-1].seconds else 0


def choose(
    workload: Workload,
    lengths_seconds: Collection[float],
    gpus: Sequence[Gpu],
    gpu_count: int,
    *,
    zero_configs: Mapping[str, ZeroSection],
    checkpointing: Iterable[int],
    cap_seconds: float = 0.0,
) -> dict[str, list[Choice]]:
    """Tries every way to run a workload on `gpu_count` GPUs of each kind.

    Args:
        workload: What a step computes.
        lengths_seconds: Utterance lengths to report; the longest has to fit.
        gpus: The kinds of GPU to try.
        gpu_count: How many of a kind work together.
        zero_configs: The resolved "zero_optimization" section of each DeepSpeed configuration to try, by its path.
        checkpointing: The settings of activation checkpointing to try.
        cap_seconds: Padded audio of a pass; 0 takes as much as fits.

    Returns:
        For each GPU its choices, the fastest that fits first.
    """
    found: dict[str, list[Choice]] = {gpu.name: [] for gpu in gpus}
    for every in checkpointing:
        recognizer, costs = sketch(workload, every, lengths_seconds, CudaSemantics())
        for (path, zero), gpu in product(zero_configs.items(), gpus):
            way = make_choice(
                recognizer,
                costs,
                gpu,
                gpu_count,
                config=path,
                zero=zero,
                activation_checkpointing=every,
                cap_seconds=cap_seconds,
                step_seconds=workload.step_seconds,
            )
            found[gpu.name].append(way)
    return {name: sorted(ways, key=lambda way: (not way.cap_seconds, way.step_seconds)) for name, ways in found.items()}


def make_choice(
    recognizer: Recognizer,
    costs: Sequence[PassCost],
    gpu: Gpu,
    gpu_count: int,
    *,
    config: str,
    zero: ZeroSection,
    activation_checkpointing: int,
    cap_seconds: float,
    step_seconds: float,
) -> Choice:
    """Estimates one way to run: `costs` of passes, the longest last, on `gpu_count` GPUs under a ZeRO configuration.

    `step_seconds` is the padded audio of a step; the other arguments are as for `choose`.
    """
    states = deepspeed_states.deepspeed_states(zero, recognizer.model, gpu_count)
    longest = costs[-1]
    budget_bytes = deepspeed_states.activation_budget_bytes(gpu, states, gpu_count)
    fits_seconds = cap_of(costs, budget_bytes)
    wanted_seconds = cap_seconds or fits_seconds
    fits = longest.seconds <= wanted_seconds <= fits_seconds
    cap_seconds = wanted_seconds if fits else 0

    # A rank's share of a step may be less than what fits.
    share_seconds = step_seconds / gpu_count
    pass_utterances = max(1, int(min(cap_seconds, share_seconds) / longest.seconds))
    passes = max(1.0, share_seconds / (pass_utterances * longest.seconds))
    compute_seconds = passes * float(operation_seconds(longest, pass_utterances, gpu).sum())
    wait_seconds = transfer_seconds(recognizer, zero, gpu, gpu_count, math.ceil(passes))
    duration_seconds = compute_seconds + wait_seconds
    return Choice(
        gpu=gpu,
        gpus=gpu_count,
        config=config,
        activation_checkpointing=activation_checkpointing,
        cap_seconds=cap_seconds,
        utterances={cost.seconds: int(cap_seconds / cost.seconds) for cost in costs},
        pass_utterances=pass_utterances,
        step_seconds=duration_seconds,
        audio_seconds_per_second=share_seconds * gpu_count / duration_seconds,
        peak_bytes=peak_parts(states, longest, pass_utterances, gpu_count),
        host_bytes=deepspeed_states.host_bytes(zero, recognizer.model, gpu_count, share_seconds),
        states=states,
        longest=longest,
    )


def peak_parts(states: States, cost: PassCost, utterances: int, gpus: int) -> dict[str, float]:
    """What the peak is made of, be it in a pass or in an optimizer step."""
    timeline = cost.timeline_bytes(utterances)
    before, after = (float(timeline[row - 1]) for row in cost.forward_rows)
    activations, parts = float(timeline.max()), dict(states.resident)
    if activations + states.backward_bytes >= states.step_bytes:
        loss = min(activations, max(0.0, after - before))
        parts |= {"activations": activations - loss, "logits and loss": loss, "reduction": states.backward_bytes}
    else:
        parts |= {"optimizer step": states.step_bytes}
    return parts | {
        "fragmentation": deepspeed_states.FRAGMENTATION * sum(parts.values()),
        "CUDA, cuBLAS, NCCL": deepspeed_states.outside_bytes(gpus),
    }
