"""Every way to run a model on some GPUs: what fits, and how fast it is."""

import math
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, TypeAlias

from asrscale.memory.deepspeed_states import States, deepspeed_states
from asrscale.memory.gpu_memory import activation_budget_bytes, peak_parts
from asrscale.memory.gpus import Gpu
from asrscale.memory.host_memory import host_bytes
from asrscale.memory.pass_cost import PassCost
from asrscale.memory.timing import operation_seconds, transfer_seconds
from asrscale.memory.workload import Sketch, Workload, sketch

ZeroSection: TypeAlias = Mapping[str, Any]  # "zero_optimization" of a resolved DeepSpeed configuration

CHECKPOINTING = {0: "no checkpointing", 4: "every 4th layer", 2: "every 2nd layer", 1: "every layer"}


@dataclass(frozen=True)
class Setup:
    """The hardware of a run, and its settings that the planner chooses between."""

    gpu: Gpu
    gpu_count: int
    config: str  # path of the DeepSpeed configuration
    zero: ZeroSection  # of this configuration
    activation_checkpointing: int
    keeps_average: bool = False  # whether the run keeps a moving average of its weights
    layerdrop: float = 0.0  # share of layers that are dropped


@dataclass(frozen=True)
class Duration:
    """An estimated time, and between what it may be."""

    least_seconds: float
    likely_seconds: float
    most_seconds: float


@dataclass(frozen=True, eq=False)
class Choice:
    """A way to run, and what comes of it."""

    gpu: Gpu
    gpus: int
    config: str  # path of the DeepSpeed configuration
    activation_checkpointing: int
    cap_seconds: float  # padded audio of a pass, at the length that allows least; 0 where the longest does not fit
    utterances: dict[float, int]  # how many of some lengths fit
    pass_utterances: int  # the longest ones of the largest pass of a step: those below are for it
    step_seconds: float  # of an optimizer step, estimated
    head_step_seconds: float  # of one that trains the head only
    audio_seconds_per_second: float  # on all GPUs
    peak_bytes: dict[str, float]  # of a GPU, by what it is made of
    host_bytes: dict[str, float]  # of the memory beside the GPU, for the rank that writes checkpoints
    states: States
    longest: PassCost  # of the longest utterances

    @property
    def flags(self) -> str:
        """The flags of launch/train.py for this way to run."""
        checkpointing = f"--activation_checkpointing {self.activation_checkpointing}"
        return f"--config {shlex.quote(self.config)} {checkpointing} --memory_cap_seconds {self.cap_seconds}"

    def duration(self, steps: int, freeze_steps: int) -> Duration:
        """Returns how long a run of so many steps takes, the first `freeze_steps` of which train the head only."""
        head_steps = min(steps, freeze_steps)
        seconds = head_steps * self.head_step_seconds + (steps - head_steps) * self.step_seconds
        slowdown = self.gpu.slowdown
        return Duration(
            least_seconds=seconds * slowdown.least / slowdown.likely,
            likely_seconds=seconds,
            most_seconds=seconds * slowdown.most / slowdown.likely,
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns what the JSON of the planner holds of it."""
        shown = {name: value for name, value in vars(self).items() if name not in ("states", "longest")}
        return shown | {"gpu": asdict(self.gpu), "flags": self.flags}


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
        For the name of each GPU its choices, the fastest that fits first.
    """
    found: dict[str, list[Choice]] = {gpu.name: [] for gpu in gpus}
    for every in checkpointing:
        sketched = sketch(workload, every, lengths_seconds)
        for (path, zero), gpu in product(zero_configs.items(), gpus):
            setup = Setup(
                gpu=gpu,
                gpu_count=gpu_count,
                config=path,
                zero=zero,
                activation_checkpointing=every,
                keeps_average=workload.keeps_average,
                layerdrop=workload.layerdrop,
            )
            way = make_choice(setup, sketched, cap_seconds=cap_seconds, step_seconds=workload.step_seconds)
            found[gpu.name].append(way)
    return {name: sorted(ways, key=_preference) for name, ways in found.items()}


def _preference(way: Choice) -> tuple[bool, float]:
    """Returns what choices are sorted by: those that fit first, then the fastest."""
    return not way.cap_seconds, way.step_seconds


def make_choice(setup: Setup, sketched: Sketch, *, cap_seconds: float, step_seconds: float) -> Choice:
    """Estimates one way to run.

    Args:
        setup: The way to run.
        sketched: The model without its weights, and its passes.
        cap_seconds: Padded audio of a pass; 0 takes as much as fits.
        step_seconds: Padded audio of an optimizer step, on all GPUs together.
    """
    model = sketched.recognizer.model
    states = deepspeed_states(setup.zero, model, setup.gpu_count, keeps_average=setup.keeps_average)
    budget_bytes = activation_budget_bytes(setup.gpu, states, setup.gpu_count)
    cap_seconds = _allowed_cap(cap_seconds, sketched.costs, budget_bytes)

    # A rank's share of a step may be less than what fits.
    longest = sketched.longest
    share_seconds = step_seconds / setup.gpu_count
    pass_utterances = max(1, int(min(cap_seconds, share_seconds) / longest.seconds))
    duration_seconds, head_duration_seconds = (
        _estimated_step_seconds(
            setup, sketched, pass_utterances=pass_utterances, share_seconds=share_seconds, head_only=head_only
        )
        for head_only in (False, True)
    )
    return Choice(
        gpu=setup.gpu,
        gpus=setup.gpu_count,
        config=setup.config,
        activation_checkpointing=setup.activation_checkpointing,
        cap_seconds=cap_seconds,
        utterances={cost.seconds: int(cap_seconds / cost.seconds) for cost in sketched.costs},
        pass_utterances=pass_utterances,
        step_seconds=duration_seconds,
        head_step_seconds=head_duration_seconds,
        audio_seconds_per_second=share_seconds * setup.gpu_count / duration_seconds,
        peak_bytes=peak_parts(states, longest, pass_utterances, setup.gpu_count),
        host_bytes=host_bytes(
            setup.zero,
            model,
            world_size=setup.gpu_count,
            share_seconds=share_seconds,
            keeps_average=setup.keeps_average,
        ),
        states=states,
        longest=longest,
    )


def cap_of(costs: Sequence[PassCost], budget_bytes: float) -> int:
    """Returns the most padded seconds of a pass whose activations fit, of any of the lengths.

    Args:
        costs: Passes of each length, the longest last.
        budget_bytes: What is left for activations.

    Returns:
        Whole seconds; 0 where the longest utterance does not fit.
    """
    cap_seconds = min(cost.max_utterances(budget_bytes) * cost.seconds for cost in costs)
    return math.floor(cap_seconds) if cap_seconds >= costs[-1].seconds else 0


def _allowed_cap(wanted_seconds: float, costs: Sequence[PassCost], budget_bytes: float) -> float:
    """Returns a wanted cap (0: as much as fits) where it fits and is enough for the longest utterance, else 0."""
    fitting_seconds = cap_of(costs, budget_bytes)
    cap_seconds = wanted_seconds or fitting_seconds
    fits = costs[-1].seconds <= cap_seconds <= fitting_seconds
    return cap_seconds if fits else 0


def _estimated_step_seconds(
    setup: Setup, sketched: Sketch, *, pass_utterances: int, share_seconds: float, head_only: bool
) -> float:
    """Returns the estimated time of an optimizer step in which each rank computes `share_seconds` of padded audio.

    Its passes hold `pass_utterances` of the longest utterances each. With `head_only` they are forward passes, beside
    which the backward pass of the head is nothing.
    """
    passes = max(1.0, share_seconds / (pass_utterances * sketched.longest.seconds))
    pass_seconds = _pass_seconds(setup, sketched, pass_utterances, head_only=head_only)
    waiting_seconds = transfer_seconds(
        sketched.recognizer,
        setup.zero,
        setup.gpu,
        gpu_count=setup.gpu_count,
        passes=math.ceil(passes),
        keeps_average=setup.keeps_average,
        head_only=head_only,
    )
    return passes * pass_seconds + waiting_seconds


def _pass_seconds(setup: Setup, sketched: Sketch, utterances: int, *, head_only: bool) -> float:
    """Returns the estimated time of a pass of the longest utterances, with as many layers dropped as on average."""

    def seconds(cost: PassCost) -> float:
        of_operations = operation_seconds(cost, utterances, setup.gpu)
        if head_only:
            of_operations = of_operations[: cost.forward_rows.loss + 1]
        return float(of_operations.sum())

    if sketched.without_layers is None or setup.zero["stage"] == 3:  # which computes dropped layers
        return seconds(sketched.longest)
    dropped = setup.layerdrop
    return (1 - dropped) * seconds(sketched.longest) + dropped * seconds(sketched.without_layers)
