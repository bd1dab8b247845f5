"""How long the passes of a run may be, so that all its ranks can hold them."""

from collections.abc import Collection, Container, Iterable, Sequence
from dataclasses import replace

import torch

from asrscale.common import distributed
from asrscale.common.checkpoint_files import at_revision
from asrscale.common.distributed import World
from asrscale.common.errors import CliError
from asrscale.data.run_plan import RunPlan
from asrscale.memory.choices import CHECKPOINTING, Choice, ZeroSection, choose
from asrscale.memory.gpu_memory import FRAGMENTATION, allocated_parts, outside_bytes
from asrscale.memory.gpus import GIB, MIN_GIB, Gpu, find_gpu
from asrscale.memory.workload import Workload
from asrscale.speech.pcm import SAMPLE_RATE_HZ
from asrscale.training.config import TrainConfig, replace_settings
from asrscale.training.ds_config import read_ds_config, resolve_ds_config
from asrscale.training.recipe_settings import count_steps

ZERO_CONFIGS = (
    "ds_configs/zero1.json",
    "ds_configs/zero2.json",
    "ds_configs/zero3.json",
    "ds_configs/zero2_offload.json",
)
# On one GPU, where stages 1 and 3 gain nothing.
ONE_GPU_ZERO_CONFIGS = (
    "ds_configs/zero2.json",
    "ds_configs/zero2_offload.json",
)

# The settings that the search chooses where no flag gives them.
SEARCHED = ("config", "activation_checkpointing", "memory_cap_seconds")

CPU_CAP_SECONDS = 40.0  # a few hundred MB of activations for base

# Where memory ran out, advice is for a GPU that has a tenth less than was planned for.
SHORTAGE = 0.9


def trains_head_only(config: TrainConfig, plan: RunPlan) -> bool:
    """Whether no step of a run trains more than the head."""
    return count_steps(config, plan.steps_per_epoch) <= config.optimisation.freeze_steps


def workload_of(config: TrainConfig, *, head_only: bool = False) -> Workload:
    """Returns what a step of a run computes; a precision that is still `auto` counts as 16 bits, which any GPU has.

    Args:
        config: The settings of the run.
        head_only: Whether no step of it trains more than the head.
    """
    return Workload(
        model=at_revision(config.model.model, config.model.revision),
        dtype=torch.float32 if config.memory.precision == "fp32" else torch.bfloat16,
        step_seconds=config.batching.step_seconds,
        attention=config.model.attention,
        dropout=config.model.dropout,
        lora_rank=config.model.lora_rank,
        language=config.model.language or "",
        train_adapter=config.model.train_adapter,
        freeze_feature_encoder=config.model.freeze_feature_encoder,
        keeps_average=config.optimisation.ema > 0,
        layerdrop=config.model.layerdrop or 0.0,
        head_only=head_only,
    )


def zero_sections(paths: Iterable[str], precision: str) -> dict[str, ZeroSection]:
    """Returns the "zero_optimization" sections of DeepSpeed configurations, resolved for a GPU, by their paths."""
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
    head_only: bool = False,
) -> dict[str, list[Choice]]:
    """Tries every way to run on `gpu_count` GPUs of each kind.

    Args:
        config: The settings of the run.
        lengths_seconds: Utterance lengths to report; the longest has to fit.
        gpus: The kinds of GPU to try.
        gpu_count: How many of a kind work together.
        fixed: Names of settings that stay as they are; those of `SEARCHED` that are missing are tried out.
        head_only: Whether no step of the run trains more than the head.

    Returns:
        For the name of each GPU its choices, the fastest that fits first.
    """
    if "config" in fixed:
        zero_configs: Sequence[str] = [config.memory.config]
    elif gpu_count == 1:
        zero_configs = ONE_GPU_ZERO_CONFIGS
    else:
        zero_configs = ZERO_CONFIGS
    if "activation_checkpointing" in fixed:
        checkpointing = [config.memory.activation_checkpointing]
    else:
        checkpointing = list(CHECKPOINTING)
    return choose(
        workload_of(config, head_only=head_only),
        lengths_seconds,
        gpus,
        gpu_count,
        zero_configs=zero_sections(zero_configs, config.memory.precision),
        checkpointing=checkpointing,
        cap_seconds=config.memory.memory_cap_seconds,
    )


def plan_memory(config: TrainConfig, plan: RunPlan, world: World) -> tuple[TrainConfig, float | None]:
    """Fills in the memory cap of a run: the given one, or as much as all ranks can hold. A collective.

    Returns:
        The settings with a cap, and the predicted peak in bytes of torch's allocator; None on a CPU without
        --memory_gib, where nothing is planned.

    Raises:
        CliError: Some rank cannot hold the longest utterance.
    """
    gpu = _own_gpu(config, world)
    if gpu is None:
        cap_seconds = config.memory.memory_cap_seconds or CPU_CAP_SECONDS
        return replace_settings(config, memory_cap_seconds=cap_seconds), None

    way = _way_of_run(config, plan, gpu, world)
    cap_seconds = config.memory.memory_cap_seconds or min(distributed.gather_objects(way.cap_seconds, world))
    if not cap_seconds:
        raise CliError(_what_fits(config, plan, gpu, world.world_size))
    allocated_bytes = _allocated_bytes(way, plan, cap_seconds, world)
    return replace_settings(config, memory_cap_seconds=cap_seconds), allocated_bytes


def advise(config: TrainConfig, plan: RunPlan, world: World) -> str:
    """Returns what to change where less memory is available than was planned for the longest utterance.

    Not a collective: a rank may call it alone.
    """
    gpu = _own_gpu(config, world)
    if gpu is None:
        return "run asrscale.plan with the same flags to see what fits"
    seconds = _longest_seconds(plan)
    way = _way_of_run(config, plan, gpu, world)
    planned_bytes = _allocated_bytes(way, plan, seconds, world)  # in passes of one utterance
    available_bytes = SHORTAGE * planned_bytes * (1 + FRAGMENTATION) + outside_bytes(world.world_size)
    return _what_fits(config, plan, _gpu_of(available_bytes / GIB), world.world_size)


def _longest_seconds(plan: RunPlan) -> float:
    """Returns the length of the longest utterance: of all lengths, it needs the most for a second."""
    return plan.longest_samples / SAMPLE_RATE_HZ


def _way_of_run(config: TrainConfig, plan: RunPlan, gpu: Gpu, world: World) -> Choice:
    """Returns how a run with these settings is, if all its GPUs are like this one."""
    head_only = trains_head_only(config, plan)
    found = search(config, [_longest_seconds(plan)], [gpu], world.world_size, fixed=SEARCHED, head_only=head_only)
    [way] = found[gpu.name]
    return way


def _allocated_bytes(way: Choice, plan: RunPlan, cap_seconds: float, world: World) -> float:
    """Returns the peak of torch's allocator in the largest pass that the run can have under a cap, or in a step."""
    cap_samples = int(cap_seconds * SAMPLE_RATE_HZ)
    utterances = plan.most_utterances(cap_samples, world.world_size)
    return sum(allocated_parts(way.states, way.longest, utterances).values())


def _own_gpu(config: TrainConfig, world: World) -> Gpu | None:
    """Returns this rank's GPU, or one with --memory_gib; None on a CPU without that."""
    if config.memory.memory_gib:
        return _gpu_of(config.memory.memory_gib)
    if world.device.type == "cuda":
        return _gpu_of(torch.cuda.get_device_properties(world.device).total_memory / GIB)
    return None


def _gpu_of(gib: float) -> Gpu:
    """Returns a GPU of so much memory."""
    similar = find_gpu(f"{max(gib, MIN_GIB):.2f}")
    return replace(similar, memory_gib=round(gib, 2))


def _what_fits(config: TrainConfig, plan: RunPlan, gpu: Gpu, gpu_count: int) -> str:
    """Returns what to change where the longest utterance does not fit on so many GPUs."""
    seconds = _longest_seconds(plan)
    uncapped = replace_settings(config, memory_cap_seconds=0.0)
    found = search(uncapped, [seconds], [gpu], gpu_count, head_only=trains_head_only(config, plan))
    best = found[gpu.name][0]
    cure = best.flags if best.cap_seconds else "a smaller --model, --lora_rank 16, a larger GPU or more of them"
    return f"an utterance of {seconds:.1f} s{plan.slowdown} does not fit into {gpu.memory_gib:.1f} GiB: try {cure}"
