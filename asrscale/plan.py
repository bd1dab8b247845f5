"""Will it fit, and how long will it take? Answers before a run, without a GPU.

python -m asrscale.plan --model facebook/wav2vec2-large-960h --gpu rtx3060-12
"""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from asrscale import cli, devices, report
from asrscale import engine as ds
from asrscale.audio import SAMPLE_RATE_HZ
from asrscale.config import TrainConfig, train_config
from asrscale.devices import GIB, GPUS, Gpu, States
from asrscale.errors import CliError
from asrscale.index import Catalog, read_catalog
from asrscale.memory import CudaSemantics, PassCost, trace_pass
from asrscale.model import Recognizer, checkpoint_activations, freeze_feature_encoder, sketch_recognizer
from asrscale.regularise import attach_regulariser
from asrscale.steps import describe_plan, plan_run

LENGTHS_SECONDS = (5.0, 10.0, 20.0)  # shown; without data, the last is the longest utterance
CONFIGS = ("zero1", "zero2", "zero3", "zero2_offload")  # of ds_configs/

# A kernel takes at least a launch; matrix units reach 70 % of their peak, memory 80 %. Real training is slower: of
# wav2vec2-base on an A100, as published, 6 times slower than this bound. docs/memory.md has the sources.
LAUNCH_SECONDS, FLOPS_SHARE, BANDWIDTH_SHARE, SLOWDOWN = 6e-6, 0.7, 0.8, 6.0
HOST_BYTES_PER_SECOND = 12e9  # PCIe 3.0 ×16, and about what AdamW on the host reads and writes


@dataclass(frozen=True)
class PlanConfig(TrainConfig):
    """Says what fits on a GPU, what it is made of and how to run it; needs no GPU, and no data.

    Takes the flags of launch/train.py. With --train and --valid it reads the lengths, and tells of the epochs.
    """

    gpu: str = cli.setting("all", help=f"GiB, or one of {', '.join(GPUS)}; all: a line each")
    gpus: int = cli.setting(1, help="how many GPUs")
    json: bool = cli.setting(False, help="print everything as JSON")
    html: str | None = cli.setting(None, help="file for a page of the same")


@dataclass(frozen=True)
class Choice:
    """A way to run, and what comes of it."""

    gpu: Gpu
    gpus: int
    config: str  # of CONFIGS
    activation_checkpointing: bool
    cap_seconds: int  # padded audio of a pass, at the length that allows least; 0 where the longest does not fit
    utterances: dict[float, int]  # how many of some lengths fit
    pass_utterances: int  # the longest ones of the largest pass of a step: those below are for it
    step_seconds: float  # of an optimizer step, estimated
    audio_seconds_per_second: float  # on all GPUs
    peak_bytes: dict[str, float]  # of a GPU, by what it is made of

    @property
    def flags(self) -> str:
        """What launch/train.py is told."""
        switch = str(self.activation_checkpointing).lower()
        config = f"--config ds_configs/{self.config}.json"
        return f"{config} --activation_checkpointing {switch} --memory_cap_seconds {self.cap_seconds}"


def sketch(
    config: TrainConfig, lengths: Iterable[float], semantics: CudaSemantics, *, checkpointed: bool
) -> tuple[Recognizer, list[PassCost]]:
    """The model of a run without its weights, and what passes of some lengths in seconds cost, the longest last."""
    dtype = torch.float32 if config.precision == "fp32" else torch.bfloat16
    recognizer = sketch_recognizer(config.model, dtype=dtype, attention=config.attention, dropout=config.dropout)
    regulariser = attach_regulariser(recognizer.model, mask_time_prob=1.0, mask_feature_prob=0.0, layerdrop=0.0)
    if config.freeze_feature_encoder:
        freeze_feature_encoder(recognizer.model)
    if checkpointed:
        checkpoint_activations(recognizer.model)
    return recognizer, [trace_pass(recognizer, s, regulariser, semantics) for s in sorted(lengths)]


def cap_of(costs: list[PassCost], budget_bytes: float) -> int:
    """The most padded seconds of a pass whose activations fit, of any length; 0 where the longest does not fit."""
    cap_seconds = min(cost.max_utterances(budget_bytes) * cost.seconds for cost in costs)
    return math.floor(cap_seconds) if cap_seconds >= costs[-1].seconds else 0


def choose(config: TrainConfig, lengths: Iterable[float], gpus: list[Gpu], count: int) -> dict[str, list[Choice]]:
    """For each kind of GPU every way to run on `count` of them: those that fit first, and of these the fastest."""
    found: dict[str, list[Choice]] = {gpu.name: [] for gpu in gpus}
    precision: ds.Precision = "fp32" if config.precision == "fp32" else "bf16"
    for checkpointed in (False, True):
        recognizer, costs = sketch(config, lengths, CudaSemantics(), checkpointed=checkpointed)
        for name in CONFIGS[1::2] if count == 1 else CONFIGS:
            read = ds.read_ds_config(f"ds_configs/{name}.json")
            resolved = ds.resolve_ds_config(
                read, precision=precision, max_gradient_norm=config.max_gradient_norm, device=torch.device("cuda")
            )
            zero = resolved["zero_optimization"]
            for gpu in gpus:
                found[gpu.name].append(_choice(config, recognizer, costs, zero, gpu, count, name, checkpointed))
    return {name: sorted(ways, key=lambda way: (not way.cap_seconds, way.step_seconds)) for name, ways in found.items()}


def _choice(
    config: TrainConfig, recognizer: Recognizer, costs: list[PassCost], zero: dict[str, Any], gpu: Gpu, gpus: int,
    name: str, checkpointed: bool,
) -> Choice:  # fmt: skip
    states = devices.deepspeed_states(zero, recognizer.model, gpus)
    cap_seconds, longest = cap_of(costs, devices.activation_budget_bytes(gpu, states, gpus)), costs[-1]
    # A rank's share of a step may be less than what fits.
    share_seconds = config.batch_seconds * config.units_per_step / gpus
    held = max(1, int(min(cap_seconds, share_seconds) / longest.seconds))
    passes = max(1.0, share_seconds / (held * longest.seconds))
    rates = gpu.teraflops * 1e12 * FLOPS_SHARE, gpu.memory_gb_per_second * 1e9 * BANDWIDTH_SHARE
    step_seconds = passes * SLOWDOWN * longest.compute_seconds(held, *rates, LAUNCH_SECONDS)
    step_seconds += _transfer_seconds(recognizer, zero, gpu, gpus, math.ceil(passes))
    counts = {cost.seconds: int(cap_seconds / cost.seconds) for cost in costs}
    speed, peak_bytes = share_seconds * gpus / step_seconds, _parts(states, longest, held, gpus)
    return Choice(gpu, gpus, name, checkpointed, cap_seconds, counts, held, step_seconds, speed, peak_bytes)


def _transfer_seconds(recognizer: Recognizer, zero: dict[str, Any], gpu: Gpu, gpus: int, passes: int) -> float:
    """What a step waits for the other GPUs and for the host, nothing of it hidden behind arithmetic."""
    model: nn.Module = recognizer.model
    weights, stage = sum(p.numel() * p.element_size() for p in model.parameters()), zero["stage"]
    gradients = 4 * sum(p.numel() for p in model.parameters() if p.requires_grad)  # reduced in fp32
    reduced = [2 * gradients, 2 * gradients, passes * gradients, passes * (gradients + 3 * weights)][stage]
    moved: float = (gpus - 1) / gpus * (reduced + (weights if stage in (1, 2) else 0)) / (gpu.link_gb_per_second * 1e9)
    # AdamW touches seven fp32 values a weight. From the host weights come back; gradients go there in each pass.
    on_gpu = 7 * gradients / gpus / (gpu.memory_gb_per_second * 1e9 * BANDWIDTH_SHARE)
    on_host = ((passes + 1) * weights + 7 * gradients / gpus) / HOST_BYTES_PER_SECOND
    return moved + (on_host if zero.get("offload_optimizer") else on_gpu)


def _parts(states: States, cost: PassCost, utterances: int, gpus: int) -> dict[str, float]:
    """What the peak is made of, be it in a pass or in an optimizer step."""
    timeline = cost.timeline_bytes(utterances)
    before, after = (float(timeline[row - 1]) for row in cost.forward_rows)
    activations = float(timeline.max())
    parts: dict[str, float] = {name: size for name, size in asdict(states).items() if not name.endswith("_bytes")}
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
        CliError: The model, the data or the GPU is not known, or nothing fits.
    """
    if options.gpus < 1:
        raise CliError(f"--gpus {options.gpus}: give 1 or more")
    gpus = list(GPUS.values()) if options.gpu == "all" else [devices.find_gpu(options.gpu)]
    catalog = read_catalog(options.train) if options.train else None
    longest = float(catalog.longest_samples.max()) / SAMPLE_RATE_HZ if catalog else LENGTHS_SECONDS[-1]
    lengths = {*(seconds for seconds in LENGTHS_SECONDS if seconds < longest), longest}
    found = choose(options, lengths, gpus, options.gpus)
    ways = [way for all_ways in found.values() for way in (all_ways if len(gpus) == 1 else all_ways[:1])]
    best, header = ways[0], ["GPU", "configuration", "cap", *(f"{s:.3g} s" for s in sorted(lengths)), *_FIGURES]
    made_of = best.peak_bytes | {f"of {best.gpu.memory_gib:g} GiB": sum(best.peak_bytes.values())}
    title = f"{options.model} on {options.gpus} × {options.gpu}, utterances of {longest:.3g} s and less"
    told = f"deepspeed --num_gpus {options.gpus} launch/train.py --model {options.model} {best.flags}"
    told += f"\n\n{_epochs(options, catalog, best)}" if catalog and best.cap_seconds else ""
    if options.html:
        page = report.page(title, told, {
            "What fits": [report.table("estimated, the fastest first", header, map(_row, ways))],
            "What the peak is made of": [report.bars("GiB", {name: size / GIB for name, size in made_of.items()})],
        })  # fmt: skip
        Path(options.html).write_text(page, encoding="utf-8")
    if options.json:
        print(json.dumps([asdict(way) | {"flags": way.flags} for way in ways], indent=2))
        return
    print(f"{title}\n\n{_aligned([header, *map(_row, ways)])}")
    if len(gpus) > 1:
        return
    if not best.cap_seconds:
        cure = "choose a smaller --model, a larger --gpu or more --gpus, or build the shards with a lower --max_seconds"
        raise CliError(f"an utterance of {longest:.3g} s fits {options.gpus} × {options.gpu} in no way: {cure}")
    print("\npeak of the first line\n" + _aligned([f"{s / GIB:.2f}", "GiB", name] for name, s in made_of.items()))
    print(f"\n{told}")


_FIGURES = ("peak", "step", "× real time")


def _row(way: Choice) -> list[str]:
    how = f"{way.config}{', checkpointing' if way.activation_checkpointing else ''}"
    if not way.cap_seconds:
        return [way.gpu.name, how, "does not fit", *["-"] * (len(way.utterances) + len(_FIGURES))]
    figures = f"{sum(way.peak_bytes.values()) / GIB:.1f} GiB", f"{way.step_seconds:.2f} s"
    counts = [f"{count:,}" for count in way.utterances.values()]
    return [way.gpu.name, how, f"{way.cap_seconds:,} s", *counts, *figures, f"{way.audio_seconds_per_second:,.0f}"]


def _aligned(rows: Iterable[list[str]]) -> str:
    """Columns as text: words to the left, numbers to the right."""
    lines = list(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    # A column is of words where its last cell is one.
    sides = ["<" if cell[:1].isalpha() else ">" for cell in lines[-1]]
    return "\n".join("  ".join(map(format, line, map("{}{}".format, sides, widths))).rstrip() for line in lines)


def _epochs(options: PlanConfig, catalog: Catalog, best: Choice) -> str:
    """What the run on these data looks like: steps, padding, balance, hours."""
    plan = plan_run(
        catalog, seed=options.seed, batch_seconds=options.batch_seconds, units_per_step=options.units_per_step,
        perturb_speed=options.perturb_speed,
    )  # fmt: skip
    steps = options.max_steps or max(1, round(options.epochs * plan.steps_per_epoch))
    recognizer = sketch_recognizer(options.model, dtype=torch.float32)
    cap_samples = best.cap_seconds * SAMPLE_RATE_HZ
    hours = f"{catalog.hours:,.1f} h of audio, {steps:,} steps: about {steps * best.step_seconds / 3600:,.1f} h\n"
    return hours + describe_plan(plan, recognizer, world_size=best.gpus, cap_samples=cap_samples)


def plan_config(**given: Any) -> PlanConfig:
    """The settings to plan for: those of a run, but data are not needed."""
    own = {name: given.pop(name) for name in ("gpu", "gpus", "json", "html") if name in given}
    return PlanConfig(**vars(train_config(**{"train": (), "valid": ()} | given)) | own)


if __name__ == "__main__":
    cli.run(PlanConfig, plan, build=plan_config)
