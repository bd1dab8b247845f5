"""Will it fit, and how long will it take? Answers before a run, without a GPU.

python -m asrscale.plan --model facebook/wav2vec2-large-960h --gpu rtx3060-12
"""

import json
import math
import shlex
from collections.abc import Collection, Container, Iterable
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from asrscale import cli, devices, report
from asrscale import engine as ds
from asrscale.audio import SAMPLE_RATE_HZ
from asrscale.config import ORDERING, TrainConfig, chosen, train_config
from asrscale.devices import GIB, GPUS, Gpu, States
from asrscale.engine import World
from asrscale.errors import CliError
from asrscale.index import read_catalog
from asrscale.lora import add_lora
from asrscale.memory import CudaSemantics, PassCost, trace_pass
from asrscale.model import Recognizer, checkpoint_activations, freeze_feature_encoder, sketch_recognizer
from asrscale.regularise import attach_regulariser
from asrscale.steps import RunPlan, describe_plan, plan_run

LENGTHS_SECONDS = (5.0, 10.0, 20.0)  # shown; without data, the last is the longest utterance
CONFIGS = tuple(f"ds_configs/{name}.json" for name in ("zero1", "zero2", "zero3", "zero2_offload"))
SEARCHED = ("config", "activation_checkpointing", "memory_cap_seconds")
CHECKPOINTING = {0: "no checkpointing", 4: "every 4th layer", 2: "every 2nd layer", 1: "every layer"}

# A kernel takes at least a launch; matrix units reach 70 % of their peak, memory 80 %. Real training is slower: of
# wav2vec2-base on an A100, as published, 6 times slower than this bound. docs/memory.md has the sources.
LAUNCH_SECONDS, FLOPS_SHARE, BANDWIDTH_SHARE, SLOWDOWN = 6e-6, 0.7, 0.8, 6.0
HOST_BYTES_PER_SECOND = 12e9  # PCIe 3.0 ×16, and about what AdamW on the host reads and writes
BUDGETS, POINTS = 33, 400  # of a plot's curves: more do not show


@dataclass(frozen=True)
class PlanConfig(TrainConfig):
    """Says what fits on a GPU, what it is made of and how to run it; needs no GPU, and no data.

    Takes the flags of launch/train.py; --config, --activation_checkpointing and --memory_cap_seconds are searched for
    where they are not given. With --train and --valid it reads the lengths, and tells of the epochs.
    """

    gpu: str = cli.setting("all", help=f"GiB, or one of {', '.join(GPUS)}; all: a line each")
    gpus: int = cli.setting(1, help="how many GPUs")
    json: bool = cli.setting(False, help="print everything as JSON")
    html: str | None = cli.setting(None, help="file for a page of the same, with plots of a step's memory and time")
    given: tuple[str, ...] = ()  # the names of the flags that were given


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
    config: TrainConfig, lengths: Iterable[float], semantics: CudaSemantics
) -> tuple[Recognizer, list[PassCost]]:
    """The model of a run without its weights, and what passes of some lengths in seconds cost, the longest last."""
    dtype = torch.float32 if config.precision == "fp32" else torch.bfloat16
    recognizer = sketch_recognizer(config.model, dtype=dtype, attention=config.attention, dropout=config.dropout)
    if config.lora_rank:
        with torch.device("meta"):
            add_lora(recognizer.model, config.lora_rank)
        recognizer.model.to(dtype)
    regulariser = attach_regulariser(recognizer.model, mask_time_prob=1.0, mask_feature_prob=0.0, layerdrop=0.0)
    if config.freeze_feature_encoder:
        freeze_feature_encoder(recognizer.model)
    checkpoint_activations(recognizer.model, config.activation_checkpointing)
    return recognizer, [trace_pass(recognizer, s, regulariser, semantics) for s in sorted(lengths)]


def cap_of(costs: list[PassCost], budget_bytes: float) -> int:
    """The most padded seconds of a pass whose activations fit, of any length; 0 where the longest does not fit."""
    cap_seconds = min(cost.max_utterances(budget_bytes) * cost.seconds for cost in costs)
    return math.floor(cap_seconds) if cap_seconds >= costs[-1].seconds else 0


def choose(
    config: TrainConfig, lengths: Collection[float], gpus: list[Gpu], count: int, kept: Container[str] = ()
) -> dict[str, list[Choice]]:
    """Every way to run on `count` GPUs of each kind, the fastest that fits first; of SEARCHED, those in `kept` stay."""
    found: dict[str, list[Choice]] = {gpu.name: [] for gpu in gpus}
    configs = (config.config,) if "config" in kept else CONFIGS[1::2] if count == 1 else CONFIGS
    tried = (config.activation_checkpointing,) if "activation_checkpointing" in kept else CHECKPOINTING
    for sketched in (replace(config, activation_checkpointing=every) for every in tried):
        recognizer, costs = sketch(sketched, lengths, CudaSemantics())
        for path, gpu in product(configs, gpus):
            found[gpu.name].append(_choice(replace(sketched, config=path), recognizer, costs, gpu, count))
    return {name: sorted(ways, key=lambda way: (not way.cap_seconds, way.step_seconds)) for name, ways in found.items()}


def _choice(config: TrainConfig, recognizer: Recognizer, costs: list[PassCost], gpu: Gpu, gpus: int) -> Choice:
    precision: ds.Precision = "fp32" if config.precision == "fp32" else "bf16"
    zero = ds.resolve_ds_config(
        ds.read_ds_config(config.config), precision=precision, max_gradient_norm=1.0, device=torch.device("cuda")
    )["zero_optimization"]
    states = devices.deepspeed_states(zero, recognizer.model, gpus)
    longest, fits_seconds = costs[-1], cap_of(costs, devices.activation_budget_bytes(gpu, states, gpus))
    cap_seconds = config.memory_cap_seconds or fits_seconds
    cap_seconds = cap_seconds if longest.seconds <= cap_seconds <= fits_seconds else 0
    # A rank's share of a step may be less than what fits.
    share_seconds = config.batch_seconds * config.units_per_step / gpus
    held = max(1, int(min(cap_seconds, share_seconds) / longest.seconds))
    passes = max(1.0, share_seconds / (held * longest.seconds))
    step_seconds = passes * float(operation_seconds(longest, held, gpu).sum())
    step_seconds += _transfer_seconds(recognizer, zero, gpu, gpus, math.ceil(passes))
    return Choice(
        gpu, gpus, config.config, config.activation_checkpointing, cap_seconds,
        {cost.seconds: int(cap_seconds / cost.seconds) for cost in costs}, held, step_seconds,
        share_seconds * gpus / step_seconds, _parts(states, longest, held, gpus),
        devices.host_bytes(zero, recognizer.model, gpus, share_seconds), states, longest,
    )  # fmt: skip


def operation_seconds(cost: PassCost, utterances: int, gpu: Gpu) -> NDArray[np.float64]:
    """(N,) time of each operation of a pass, bound by FLOPs or bytes a second, or by its launch."""
    flops, moved = (cost.base[:, 1:] + cost.slope[:, 1:] * utterances).T
    bytes_a_second = gpu.memory_gb_per_second * 1e9 * BANDWIDTH_SHARE
    bound = np.maximum(flops / (gpu.teraflops * 1e12 * FLOPS_SHARE), moved / bytes_a_second)
    return np.where(moved == 0, 0.0, np.maximum(bound, LAUNCH_SECONDS) * SLOWDOWN)


def _transfer_seconds(recognizer: Recognizer, zero: dict[str, Any], gpu: Gpu, gpus: int, passes: int) -> float:
    """What a step waits for the other GPUs and for the host, nothing of it hidden behind arithmetic."""
    model, stage = recognizer.model, zero["stage"]
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    gradients = 4 * sum(p.numel() for p in model.parameters() if p.requires_grad)  # reduced in fp32
    reduced = [2 * gradients, 2 * gradients, passes * gradients, passes * (gradients + 3 * weights)][stage]
    moved = (gpus - 1) / gpus * (reduced + (weights if stage in (1, 2) else 0)) / (gpu.link_gb_per_second * 1e9)
    # AdamW touches seven fp32 values a weight. From the host weights come back; gradients go there once.
    on_gpu = 7 * gradients / gpus / (gpu.memory_gb_per_second * 1e9 * BANDWIDTH_SHARE)
    on_host = (weights + gradients / gpus + 7 * gradients / gpus) / HOST_BYTES_PER_SECOND
    return float(moved + (on_host if zero.get("offload_optimizer") else on_gpu))


def _parts(states: States, cost: PassCost, utterances: int, gpus: int) -> dict[str, float]:
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
        "fragmentation": devices.FRAGMENTATION * sum(parts.values()),
        "CUDA, cuBLAS, NCCL": devices.outside_bytes(gpus),
    }


def plan(options: PlanConfig) -> None:
    """What the command does.

    Raises:
        CliError: The model, the data or the GPU is not known, nothing fits, or the page cannot be written.
    """
    if options.gpus < 1:
        raise CliError(f"--gpus {options.gpus}: give 1 or more")
    gpus = list(GPUS.values()) if options.gpu == "all" else [devices.find_gpu(options.gpu)]
    gpus = [replace(gpu, memory_gib=options.memory_gib or gpu.memory_gib) for gpu in gpus]
    order = plan_run(read_catalog(options.train), **chosen(options, *ORDERING)) if options.train else None
    longest = order.longest_samples / SAMPLE_RATE_HZ if order else LENGTHS_SECONDS[-1]
    lengths = {*(seconds for seconds in LENGTHS_SECONDS if seconds < longest), longest}
    found = choose(options, lengths, gpus, options.gpus, options.given)
    ways = [way for all_ways in found.values() for way in (all_ways if len(gpus) == 1 else all_ways[:1])]
    best, header = ways[0], ["GPU", "configuration", "cap", *(f"{s:.3g} s" for s in sorted(lengths))]
    header += ["peak", "step", "× real time"]
    made_of = best.peak_bytes | {f"of {best.gpu.memory_gib:g} GiB": sum(best.peak_bytes.values())}
    title = f"{options.model} on {options.gpus} × {options.gpu}, utterances of {longest:.3g} s and less"
    told = f"deepspeed --num_gpus {options.gpus} launch/train.py --model {shlex.quote(options.model)} {best.flags}"
    for name, value in ((name, getattr(options, name)) for name in options.given if name not in ("model", *SEARCHED)):
        told += f" --{name} {shlex.quote(','.join(value) if isinstance(value, tuple) else str(value))}"
    told += f"\n\n{_epochs(options, order, best)}" if order and best.cap_seconds else ""
    if options.html:
        sections = {"What fits": [report.table("estimated, the fastest first", header, map(_row, ways))]}
        report.write_page(options.html, title, told, sections | _plots(options, best, lengths))
    if options.json:
        print(json.dumps([way.to_dict() for way in ways], indent=2))
        return
    print(f"{title}\n\n{_aligned([header, *map(_row, ways)])}")
    if len(gpus) > 1:
        return
    if not best.cap_seconds:
        cure = "".join(f"leave out --{name}, " for name in SEARCHED if name in options.given)
        cure += "choose a smaller --model, a larger --gpu, more --gpus, --lora_rank 16, or shards of less --max_seconds"
        raise CliError(f"an utterance of {longest:.3g} s fits {options.gpus} × {options.gpu} in no way: {cure}")
    tables = {"peak of the first line": made_of, "beside the GPU, at most, for rank 0": best.host_bytes}
    for name, parts in tables.items():
        print(f"\n{name}\n" + _aligned([[f"{s / GIB:.2f}", "GiB", part] for part, s in parts.items()]))
    print(f"\n{told}")


def _layers(every: int) -> str:
    return CHECKPOINTING.get(every, f"a layer in {every}")


def _row(way: Choice) -> list[str]:
    every = way.activation_checkpointing
    how = f"{Path(way.config).stem}{f', checkpointing {_layers(every)}' if every else ''}"
    if not way.cap_seconds:
        return [way.gpu.name, how, "does not fit", *["-"] * (len(way.utterances) + 3)]
    figures = f"{sum(way.peak_bytes.values()) / GIB:.1f} GiB", f"{way.step_seconds:.2f} s"
    counts = [f"{count:,}" for count in way.utterances.values()]
    return [way.gpu.name, how, f"{way.cap_seconds:,} s", *counts, *figures, f"{way.audio_seconds_per_second:,.0f}"]


def _aligned(lines: list[list[str]]) -> str:
    """Columns as text: words to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    # A column is of words where its last cell is one.
    sides = ["<" if cell[:1].isalpha() else ">" for cell in lines[-1]]
    return "\n".join("  ".join(map(format, line, map("{}{}".format, sides, widths))).rstrip() for line in lines)


def _plots(options: PlanConfig, best: Choice, lengths: Collection[float]) -> dict[str, list[report.Block]]:
    """What the best way's memory is made of and does in a step, and what more or less memory would do to the time."""
    cost, states, held = best.longest, best.states, best.pass_utterances
    resident = sum(states.resident.values()) + devices.outside_bytes(best.gpus)
    live, seconds = cost.timeline_bytes(held) + resident, np.cumsum(operation_seconds(cost, held, best.gpu))
    loss = cost.forward_rows[1]
    live[loss:] += states.backward_bytes
    starts = np.unique(np.linspace(0, len(live) - 1, POINTS).astype(int))
    points = list(zip(seconds[starts].tolist(), (np.maximum.reduceat(live, starts) / GIB).tolist(), strict=True))
    turn, end = int(np.searchsorted(starts, loss)), points[-1][0]
    step = (resident + states.step_bytes) / GIB
    timeline = {
        "forward and loss": points[: turn + 1],
        "backward": points[turn:],
        "optimizer step": [(end, step), (1.03 * end, step)],
        best.gpu.name: [(0.0, best.gpu.memory_gib), (end, best.gpu.memory_gib)],
    }
    sizes = np.linspace(best.gpu.memory_gib / BUDGETS, best.gpu.memory_gib, BUDGETS).tolist()
    budgets = [replace(best.gpu, name=f"{gib} GiB", memory_gib=gib) for gib in sizes]
    found = choose(options, lengths, budgets, best.gpus, options.given).values()
    frontier = {
        _layers(every): [
            (way.gpu.memory_gib, way.step_seconds) for ways in found
            for way in [way for way in ways if way.cap_seconds and way.activation_checkpointing == every][:1]
        ]
        for every in sorted({way.activation_checkpointing for ways in found for way in ways})
    }  # fmt: skip
    peak = {name: size / GIB for name, size in best.peak_bytes.items()}
    host = {name: size / GIB for name, size in best.host_bytes.items()}
    about = f"{held} × {cost.seconds:.3g} s, with {best.flags}"
    return {
        f"Memory of the largest pass of a step: {about}": [
            report.curves("GiB over seconds (estimated)", timeline), report.bars("GiB at the peak", peak)
        ],
        "Memory against time": [
            report.curves("seconds of a step (estimated) over GiB of the GPU, at its best configuration", frontier),
            report.bars("GiB beside the GPU, at most, for rank 0", host),
        ],
    }  # fmt: skip


def _epochs(options: PlanConfig, order: RunPlan, best: Choice) -> str:
    """What the run on these data looks like: steps, padding, balance, hours."""
    steps = options.max_steps or max(1, round(options.epochs * order.steps_per_epoch))
    recognizer = sketch_recognizer(options.model, dtype=torch.float32)
    cap_samples = int(best.cap_seconds * SAMPLE_RATE_HZ)
    hours = f"{order.catalog.hours:,.1f} h of audio, {steps:,} steps: about {steps * best.step_seconds / 3600:,.1f} h\n"
    return hours + describe_plan(order, recognizer, world_size=best.gpus, cap_samples=cap_samples)


def plan_memory(config: TrainConfig, order: RunPlan, world: World) -> tuple[TrainConfig, float | None]:
    """A run's settings with a memory cap, as given or as all ranks can hold, and the peak to expect; a collective.

    The peak is in bytes of torch's allocator. On a CPU without --memory_gib nothing is planned, and it is None.

    Raises:
        CliError: Some rank cannot hold the longest utterance; with what to change.
    """
    on_gpu = world.device.type == "cuda"
    gib = config.memory_gib or (torch.cuda.get_device_properties(world.device).total_memory / GIB if on_gpu else 0)
    if not gib:  # 40 s: a few hundred MB of activations for base
        return replace(config, memory_cap_seconds=config.memory_cap_seconds or 40.0), None
    gpu = replace(devices.find_gpu(f"{max(gib, 1):.2f}"), memory_gib=round(gib, 2))  # no card has less than 1
    seconds = order.longest_samples / SAMPLE_RATE_HZ  # of all lengths, the longest need the most for a second
    way = _choice(config, *sketch(config, [seconds], CudaSemantics()), gpu, world.world_size)
    cap_seconds = config.memory_cap_seconds or min(ds.gather_objects(way.cap_seconds, world))
    if not cap_seconds:
        raise CliError(_what_fits(config, seconds, gpu, world.world_size))
    count = order.most_utterances(int(cap_seconds * SAMPLE_RATE_HZ), world.world_size)
    *allocated, _fragments, _outside = _parts(way.states, way.longest, count, world.world_size).values()
    return replace(config, memory_cap_seconds=cap_seconds), sum(allocated)


def _what_fits(config: TrainConfig, seconds: float, gpu: Gpu, count: int) -> str:
    """What to change where an utterance of so many seconds does not fit on so many GPUs."""
    best = choose(config, [seconds], [gpu], count)[gpu.name][0]
    cure = best.flags if best.cap_seconds else "a smaller --model, --lora_rank 16, a larger GPU or more of them"
    return f"an utterance of {seconds:.1f} s does not fit into {gpu.memory_gib:.1f} GiB: try {cure}"


def advise(config: TrainConfig, order: RunPlan, world: World) -> str:
    """What to change where there is less memory than the longest utterance was said to need; asks no other rank."""
    seconds = order.longest_samples / SAMPLE_RATE_HZ
    needed_bytes = plan_memory(replace(config, memory_cap_seconds=seconds), order, world)[1]
    if needed_bytes is None:
        return "asrscale.plan, with the same flags, tells what fits"
    gib = (0.9 * needed_bytes * (1 + devices.FRAGMENTATION) + devices.outside_bytes(world.world_size)) / GIB
    gpu = replace(devices.find_gpu(f"{max(gib, 1):.2f}"), memory_gib=round(gib, 2))
    return _what_fits(replace(config, memory_cap_seconds=0.0), seconds, gpu, world.world_size)


def plan_config(**given: Any) -> PlanConfig:
    """The settings to plan for: those of a run, but data are not needed."""
    own = {name: given.pop(name) for name in ("gpu", "gpus", "json", "html") if name in given}
    data = {} if {"train", "valid"} & given.keys() else {"train": (), "valid": ()}
    return PlanConfig(**vars(train_config(**data | given)) | own, given=tuple(given))


if __name__ == "__main__":
    cli.run(PlanConfig, plan, build=plan_config)
