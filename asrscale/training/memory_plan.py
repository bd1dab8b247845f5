"""The memory cap of a run, as all its ranks can hold it."""

from collections.abc import Collection, Container, Iterable, Sequence
from dataclasses import replace

import torch

from asrscale.common import distributed
from asrscale.common.distributed import World
from asrscale.common.errors import CliError
from asrscale.data.run_plan import RunPlan
from asrscale.memory.choices import CHECKPOINTING, Choice, ZeroSection, choose, peak_parts
from asrscale.memory.deepspeed_states import FRAGMENTATION, outside_bytes
from asrscale.memory.gpus import GIB, Gpu, find_gpu
from asrscale.memory.workload import Workload
from asrscale.speech.pcm import SAMPLE_RATE_HZ
from asrscale.training.config import TrainConfig, replace_settings
from asrscale.training.ds_config import read_ds_config, resolve_ds_config

ZERO_CONFIGS = tuple(f"ds_configs/{name}.json" for name in ("zero1", "zero2", "zero3", "zero2_offload"))
# What the search chooses where a flag does not.
SEARCHED = ("config", "activation_checkpointing", "memory_cap_seconds")
CPU_CAP_SECONDS = 40.0  # a few hundred MB of activations for base


def workload_of(config: TrainConfig) -> Workload:
    """What a step of a run computes; a precision that is still `auto` counts as 16 bits, which any GPU takes."""
    return Workload(
        model=config.model.model,
        dtype=torch.float32 if config.memory.precision == "fp32" else torch.bfloat16,
        step_seconds=config.batching.step_seconds,
        attention=config.model.attention,
        dropout=config.model.dropout,
        lora_rank=config.model.lora_rank,
        freeze_feature_encoder=config.model.freeze_feature_encoder,
    )


def zero_sections(paths: Iterable[str], precision: str) -> dict[str, ZeroSection]:
    """The "zero_optimization" section of DeepSpeed configurations, as a GPU gets it, by their paths."""
    sections: dict[str, ZeroSection] = {}
    for path in paths:
        resolved = resolve_ds_config(
            read_ds_config(path),
            precision="fp32" if precision == "fp32" else "bf16",
            max_gradient_norm=1.0,
            device=torch.device("cuda"),
        )
        sections[path] = resolved["zero_optimization"]
    return sections


def search(
    config: TrainConfig,
    lengths_seconds: Collection[float],
    gpus: Sequence[Gpu],
    gpu_count: int,
    *,
    fixed: Container[str] = (),
) -> dict[str, list[Choice]]:
    """Tries every way to run on `gpu_count` GPUs of each kind; of SEARCHED, the settings in `fixed` stay as they are.

    Returns:
        For each GPU its choices, the fastest that fits first.
    """
    zero_configs: Sequence[str] = ZERO_CONFIGS
    if "config" in fixed:
        zero_configs = [config.memory.config]
    elif gpu_count == 1:  # where stages 1 and 3 gain nothing
        zero_configs = ZERO_CONFIGS[1::2]
    checkpointing: Iterable[int] = CHECKPOINTING
    if "activation_checkpointing" in fixed:
        checkpointing = [config.memory.activation_checkpointing]
    return choose(
        workload_of(config),
        lengths_seconds,
        gpus,
        gpu_count,
        zero_configs=zero_sections(zero_configs, config.memory.precision),
        checkpointing=checkpointing,
        cap_seconds=config.memory.memory_cap_seconds,
    )


def plan_memory(config: TrainConfig, plan: RunPlan, world: World) -> tuple[TrainConfig, float | None]:
    """Fills in the memory cap of a run: as given, or as much as all ranks can hold. A collective.

    Returns:
        The settings with a cap, and the predicted peak in bytes of torch's allocator; None on a CPU without
        --memory_gib, where nothing is planned.

    Raises:
        CliError: Some rank cannot hold the longest utterance; says what to change.
    """
    gpu = _own_gpu(config, world)
    if gpu is None:
        return replace_settings(config, memory_cap_seconds=config.memory.memory_cap_seconds or CPU_CAP_SECONDS), None
    seconds = plan.longest_samples / SAMPLE_RATE_HZ  # of all lengths, the longest need the most for a second
    way = search(config, [seconds], [gpu], world.world_size, fixed=SEARCHED)[gpu.name][0]
    cap_seconds = config.memory.memory_cap_seconds or min(distributed.gather_objects(way.cap_seconds, world))
    if not cap_seconds:
        raise CliError(_what_fits(config, seconds, gpu, world.world_size))
    cap_samples = int(cap_seconds * SAMPLE_RATE_HZ)
    utterances = plan.most_utterances(cap_samples, world.world_size)
    parts = peak_parts(way.states, way.longest, utterances, world.world_size)
    *allocated_bytes, _fragments, _outside = parts.values()
    return replace_settings(config, memory_cap_seconds=cap_seconds), sum(allocated_bytes)


def advise(config: TrainConfig, plan: RunPlan, world: World) -> str:
    """What to change when there is less memory than planned for the longest utterance; asks no other rank."""
    seconds = plan.longest_samples / SAMPLE_RATE_HZ
    needed_bytes = plan_memory(replace_settings(config, memory_cap_seconds=seconds), plan, world)[1]
    if needed_bytes is None:
        return "asrscale.plan, with the same flags, tells what fits"
    gib = (0.9 * needed_bytes * (1 + FRAGMENTATION) + outside_bytes(world.world_size)) / GIB
    return _what_fits(config, seconds, _gpu_of(gib), world.world_size)


def _own_gpu(config: TrainConfig, world: World) -> Gpu | None:
    """This rank's GPU, or one with --memory_gib; None on a CPU without that."""
    if config.memory.memory_gib:
        return _gpu_of(config.memory.memory_gib)
    if world.device.type == "cuda":
        return _gpu_of(torch.cuda.get_device_properties(world.device).total_memory / GIB)
    return None


def _gpu_of(gib: float) -> Gpu:
    """A GPU of so much memory."""
    named = find_gpu(f"{max(gib, 1):.2f}")  # no card has less than 1
    return replace(named, memory_gib=round(gib, 2))


def _what_fits(config: TrainConfig, seconds: float, gpu: Gpu, gpu_count: int) -> str:
    """What to change where an utterance of `seconds` does not fit on so many GPUs."""
    uncapped = replace_settings(config, memory_cap_seconds=0.0)
    found = search(uncapped, [seconds], [gpu], gpu_count)
    best = found[gpu.name][0]
    cure = best.flags if best.cap_seconds else "a smaller --model, --lora_rank 16, a larger GPU or more of them"
    return f"an utterance of {seconds:.1f} s does not fit into {gpu.memory_gib:.1f} GiB: try {cure}"
