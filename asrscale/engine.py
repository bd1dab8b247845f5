"""Everything that knows DeepSpeed: joining ranks, collectives, precision, steps, full states.

We decide when to step: DeepSpeed's own bookkeeping is told micro-batch 1 and accumulation 1, backward only accumulates,
and the caller scales the loss so that the sum over all passes of all ranks is the mean over the step's utterances.
"""

import glob
import json
import logging
import math
import os
import socket
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.distributed import distributed_c10d
from torch.distributed.rendezvous import rendezvous

from asrscale.errors import CliError, TransientError
from asrscale.launcher import rank_environment

# Without expandable segments, memory that is free but in pieces can run out. torch reads this at CUDA's first use.
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", os.environ.get("PYTORCH_ALLOC_CONF", "expandable_segments:True"))
# DeepSpeed picks its accelerator when it is imported, with a warning where nobody chose.
os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
warnings.filterwarnings("ignore", "`torch.distributed.*is deprecated", FutureWarning)  # DeepSpeed's calls, not ours

import deepspeed  # noqa: E402
from deepspeed import utils as ds_utils  # noqa: E402

ds_utils.logger.setLevel(logging.WARNING)

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Engine: TypeAlias = Any  # deepspeed.DeepSpeedEngine; DeepSpeed ships no types
WATCHED = timedelta(days=7)
MEETING = timedelta(seconds=50)  # a wrong address is told within a minute; torch would wait for 5 to 30
MOMENTS = ("exp_avg", "exp_avg_sq")
_SCALER = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")  # of DeepSpeed's DynamicLossScaler

# Keys of a DeepSpeed configuration that asrscale sets itself, and what to use instead.
_OWNED_KEYS = {
    "train_batch_size": "--batch_seconds and --units_per_step",
    "train_micro_batch_size_per_gpu": "--batch_seconds and --memory_cap_seconds",
    "gradient_accumulation_steps": "--units_per_step",
    "managed_gradient_accumulation": "--units_per_step",
    "gradient_clipping": "--max_gradient_norm",
    "optimizer": "--learning_rate, --weight_decay and --adam_beta2",
    "scheduler": "--schedule and --warmup_steps",
    "data_efficiency": "--batch_seconds",
    "curriculum_learning": "--batch_seconds",
    "communication_data_type": "--precision",
    "data_types": "--precision",
}


@dataclass(frozen=True)
class World:
    """Who this process is among the ranks."""

    rank: int
    local_rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this rank writes files and talks to people."""
        return self.rank == 0


@contextmanager
def joined_ranks(*, watched: bool = False) -> Iterator[World]:
    """Joins the ranks that deepspeed, torchrun or srun started, or makes a world of one for plain python; leaves after.

    Where a watch of ours looks for hangs (`watched`), torch's time-outs of 10 and 30 minutes must not: they would end a
    long save, and a hang before it is told whose it is.

    Raises:
        CliError: GPUs that cannot be used, an environment that is only half set, or ranks that do not find each other.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not gpus and glob.glob("/dev/nvidia[0-9]*") and os.environ.get("CUDA_VISIBLE_DEVICES") != "":
        raise CliError(
            f"this machine has NVIDIA devices, but torch {torch.__version__} cannot use them: check nvidia-smi and the "
            "driver, or set CUDA_VISIBLE_DEVICES= (empty) to train on the CPU"
        )
    environment = rank_environment()
    added = environment.keys() - os.environ.keys()
    os.environ.update(environment)
    try:
        rank, local_rank, world_size = (int(os.environ[name]) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"))
        local_world_size = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("LOCAL_SIZE") or 1)
        if gpus == 1 and "LOCAL_WORLD_SIZE" in added:
            local_rank, local_world_size = 0, 1  # srun may show each task its own GPU only
        if gpus and local_world_size > gpus:
            raise CliError(f"{local_world_size} ranks were started for {gpus} GPUs: start one a GPU")
        if gpus:
            torch.cuda.set_device(local_rank)
        elif "OMP_NUM_THREADS" not in os.environ:  # deepspeed's launcher leaves every rank all cores
            torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // local_world_size))
        # Its shared-memory all-reduce serves inference only, and is compiled at the first start.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        _meet("nccl" if gpus else "gloo", WATCHED if watched else None)
        yield World(rank, local_rank, world_size, torch.device("cuda", local_rank) if gpus else torch.device("cpu"))
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        deepspeed.utils.groups._WORLD_GROUP = None  # its clone of the world, which a next world must not meet
        for name in added:
            del os.environ[name]


def _meet(backend: str, patience: timedelta | None) -> None:
    """Opens the process group, whose collectives wait for `patience`; None is as long as torch says."""
    host, port, deadline = os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"], time.monotonic() + MEETING.seconds
    try:
        while int(os.environ["RANK"]):  # torch has forty lines for a first rank that does not listen
            with suppress(OSError) if time.monotonic() < deadline else nullcontext():
                socket.create_connection((host, int(port)), MEETING.seconds).close()
                break
            time.sleep(0.2)
        store, rank, world_size = next(rendezvous("env://", timeout=MEETING))
        # torchrun's store outlives ranks that start again, and what they told each other.
        store = distributed_c10d.PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
        store.set_timeout(patience or torch.distributed.default_pg_timeout)
        if patience:  # DeepSpeed makes groups of its own, which take torch's defaults
            vars(distributed_c10d).update(default_pg_timeout=patience, default_pg_nccl_timeout=patience)
        torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=world_size)
        deepspeed.init_distributed(backend, auto_mpi_discovery=False, verbose=False)
    except (torch.distributed.DistError, OSError) as error:
        cure = "check that all were started, and their MASTER_ADDR; another run may use the port: see --master_port"
        why = str(error).splitlines()[0]
        raise TransientError(f"the ranks cannot meet at {host}:{port} ({why}): {cure}") from error


def barrier() -> None:
    """Waits for every rank."""
    torch.distributed.barrier()


def all_reduce_sum(values: Iterable[float], world: World) -> list[float]:
    """Sums a few numbers over the ranks, in float64."""
    total = torch.tensor(list(values), dtype=torch.float64, device=world.device)
    torch.distributed.all_reduce(total)
    return [float(value) for value in total]


def gather_objects(value: Any, world: World) -> list[Any]:
    """One small picklable value of each rank, on every rank; never data from a shard's author."""
    gathered: list[Any] = [None] * world.world_size
    torch.distributed.all_gather_object(gathered, value)
    return gathered


def resolve_precision(precision: Precision, world: World) -> Precision:
    """What `auto` means here: bf16 on Ampere and later, fp16 before, fp32 on a CPU, for which fp16 is a CliError."""
    on_cpu = world.device.type == "cpu"
    if on_cpu and precision == "fp16":
        raise CliError("--precision fp16 needs a GPU: use fp32 or bf16 on a CPU")
    if precision != "auto":
        return precision
    return "fp32" if on_cpu else "bf16" if torch.cuda.get_device_capability(world.device) >= (8, 0) else "fp16"


def read_ds_config(path: str) -> dict[str, Any]:
    """Reads a DeepSpeed configuration; CliError without one, or for a concrete value of what is a flag here."""
    try:
        config = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise CliError(f"--config {path}: {error.strerror}: choose one of ds_configs/") from error
    except ValueError as error:
        raise CliError(f"--config {path} is not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise CliError(f"--config {path} holds no JSON object")
    for key, flag in _OWNED_KEYS.items():
        if config.get(key, "auto") != "auto":
            raise CliError(f'--config {path}: "{key}" must be "auto" or absent: use {flag}')
    for key in ("bf16", "fp16"):
        section = config.get(key, {})
        if not isinstance(section, dict) or section.get("enabled", "auto") != "auto":
            raise CliError(f'--config {path}: "{key}" must be an object whose "enabled" is "auto": use --precision')
    zero = config.get("zero_optimization", {})
    if not isinstance(zero, dict) or zero.get("stage", 0) not in (0, 1, 2, 3):
        raise CliError(f'--config {path}: "zero_optimization" needs a "stage" of 0, 1, 2 or 3')
    return config


def resolve_ds_config(
    config: dict[str, Any], *, precision: Precision, max_gradient_norm: float, device: torch.device
) -> dict[str, Any]:
    """The configuration that DeepSpeed gets: the file's, without "auto"; CliError for stage 0 in 16 bits."""
    zero = {"stage": 0} | dict(config.get("zero_optimization", {}))
    if zero["stage"] == 0 and precision != "fp32":
        raise CliError(f"ZeRO stage 0 cannot add up {precision} gradients in fp32: use ds_configs/zero1.json")
    if zero.get("overlap_comm", "auto") == "auto":
        # Overlap needs a GPU's streams; with steps of our own DeepSpeed allows it from stage 2 on.
        zero["overlap_comm"] = device.type == "cuda" and zero["stage"] >= 2
    return {key: value for key, value in config.items() if key not in _OWNED_KEYS} | {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,
        "gradient_clipping": max_gradient_norm,
        "bf16": dict(config.get("bf16", {})) | {"enabled": precision == "bf16"},
        "fp16": dict(config.get("fp16", {})) | {"enabled": precision == "fp16"},
        "zero_optimization": zero,
        "zero_force_ds_cpu_optimizer": False,
        "timers": {"throughput": {"enabled": False}},  # DeepSpeed's waits for the GPU before every pass
        "data_types": {"grad_accum_dtype": "fp32"},
        "communication_data_type": "fp32",
    }


def initialize(model: nn.Module, ds_config: dict[str, Any], *, weight_decay: float, adam_beta2: float) -> Engine:
    """Wraps the trainable parameters of `model` in DeepSpeed with AdamW; the learning rate comes with each step.

    Biases, norms and the convolutional stem are not decayed. The head has groups of its own, for `take_step`.
    """
    groups: dict[tuple[bool, float], dict[str, Any]] = {}
    for name, parameter in _trainable(model):
        is_head, decay = name.startswith("lm_head."), parameter.ndim >= 2 and "feature_extractor." not in name
        kind = {"params": [], "is_head": is_head, "weight_decay": weight_decay if decay else 0.0}
        groups.setdefault((is_head, decay), kind)["params"].append(parameter)
    optimizer = torch.optim.AdamW(list(groups.values()), lr=0.0, betas=(0.9, adam_beta2), fused=True)
    engine = deepspeed.initialize(model=model, optimizer=optimizer, config=ds_config)[0]
    if not _is_partitioned(engine):
        engine.clip_fp32_gradients = partial(_clip_or_drop, engine)
    return engine


def _clip_or_drop(engine: Engine) -> None:
    """What stage 0 does between reducing and stepping: as at the other stages, no step where the norm is not finite."""
    parameters = [parameter for _, parameter in _trainable(engine.module)]
    norm = nn.utils.clip_grad_norm_(parameters, engine.gradient_clipping())
    engine.optimizer._global_grad_norm = norm  # where DeepSpeed looks for it
    if not norm.isfinite():
        for parameter in parameters:
            parameter.grad = None  # AdamW leaves these, and their moments, as they are


def backward(engine: Engine, loss: Tensor, world: World) -> None:
    """Adds the gradient of this pass's share of the step's loss; DeepSpeed averages over the ranks, we sum."""
    engine.backward(loss * world.world_size, scale_wrt_gas=False)


def take_step(engine: Engine, learning_rate: float, *, head_only: bool = False) -> float:
    """Reduces, clips and applies what `backward` added up; `head_only` keeps all weights but the head's as they are.

    Their moments are kept up meanwhile: begun at 0 later, they would make Adam's first steps three times too long.

    Returns:
        The norm of the whole gradient before clipping. Where it is not finite, no rank has changed anything.
    """
    for group in engine.optimizer.param_groups:
        group["lr"] = learning_rate if group["is_head"] or not head_only else 0.0
    engine.step()
    norm = float(engine.get_global_grad_norm())
    if not math.isfinite(norm) and hasattr(engine.optimizer, "all_grad_tensors"):
        # With offload, stages 1 and 2 would add to what is not finite for ever.
        engine.optimizer.averaged_gradients, engine.optimizer.all_grad_tensors = {}, {}
    return norm


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an allocator refused: torch's on a GPU or a CPU, or those of CUDA's libraries."""
    return any(words in str(error) for words in ("out of memory", "ALLOC_FAILED", "can't allocate memory"))


def meets_inside_passes(engine: Engine, world: World) -> bool:
    """Whether a rank that leaves a pass half-way leaves others waiting, or, at stage 3, weights half fetched."""
    return bool(engine.zero_optimization_stage() >= (3 if world.world_size == 1 else 2))


def abandon_pass(engine: Engine) -> None:
    """Makes DeepSpeed forget that it is in a backward pass, which was left half-way; the gradient is void."""
    optimizer = engine.optimizer
    if getattr(optimizer, "_backward_active_depth", 0):
        if engine.zero_optimization_stage() == 2:
            optimizer.setup_buckets()
            for pending in (optimizer.extra_large_param_to_reduce, *optimizer.ipg_buckets.values()):
                pending.clear()
        engine._backward_epilogue()


def gather_weights(engine: Engine, frozen: dict[str, Tensor], world: World) -> dict[str, Tensor]:
    """A collective: all weights in fp32 on the CPU of rank 0, frozen ones as they were loaded; none on other ranks."""
    return (frozen if world.is_main else {}) | _gather(engine, None, world)


def gather_moments(engine: Engine, world: World) -> dict[str, Tensor]:
    """Both Adam moments of every trainable parameter, as `exp_avg/NAME`, and `adam_steps`; as `gather_weights`."""
    _link_moments(engine)
    first, second = (_gather(engine, moment, world) for moment in MOMENTS)
    steps = max((int(state["step"]) for state in engine.basic_optimizer.state.values()), default=0)
    counters = scaler_state(engine.optimizer) | {"adam_steps": torch.tensor(steps)}
    return first | second | (counters if world.is_main else {})


def _gather(engine: Engine, moment: str | None, world: World) -> dict[str, Tensor]:
    """Full weights (`moment` None) or a moment, by name, in fp32 on the CPU of rank 0."""
    gathered: dict[str, Tensor] = {}
    for name, parameter in _trainable(engine.module):
        if not _is_partitioned(engine):  # a parameter that never had a gradient has no moments yet
            states = {None: parameter.data} | engine.optimizer.state.get(parameter, {})
            full = states.get(moment, torch.zeros_like(parameter))
        elif moment:
            full = ds_utils.safe_get_full_optimizer_state(parameter, moment)
        else:
            full = ds_utils.safe_get_full_fp32_param(parameter)
        if world.is_main:
            gathered[f"{moment}/{name}" if moment else name] = full.detach().float().cpu().clone()
    return gathered


def scaler_state(optimizer: Any) -> dict[str, Tensor]:
    """The dynamic loss scale of fp16 and its counters, as `loss_scaler/NAME`; nothing at other precisions."""
    scaler = getattr(optimizer, "loss_scaler", None)
    if not getattr(scaler, "dynamic", False):
        return {}
    return {f"loss_scaler/{name}": torch.tensor(getattr(scaler, name), dtype=torch.float64) for name in _SCALER}


def restore_scaler(optimizer: Any, states: dict[str, Tensor]) -> None:
    """Sets what `scaler_state` gave, where the optimizer has a dynamic loss scale now as well."""
    for key in scaler_state(optimizer).keys() & states.keys():
        name = key.removeprefix("loss_scaler/")
        setattr(optimizer.loss_scaler, name, type(getattr(optimizer.loss_scaler, name))(states[key]))


def restore_state(engine: Engine, weights: dict[str, Tensor], moments: dict[str, Tensor], world: World) -> None:
    """Sets fp32 weights and moments as gathered, at any stage and number of ranks.

    Before, the model got the same weights, then `initialize`, then a step at learning rate 0 that made the moments.
    """
    _link_moments(engine)
    for name, parameter in _trainable(engine.module):
        _set_full(engine, parameter, weights[name].to(world.device), None, world)
        for moment in MOMENTS:
            _set_full(engine, parameter, moments[f"{moment}/{name}"].to(world.device), moment, world)
    set_adam_steps(engine, int(moments["adam_steps"]))
    restore_scaler(engine.optimizer, moments)


def set_adam_steps(engine: Engine, steps: int) -> None:
    """Sets how many steps Adam believes to have taken."""
    for state in engine.basic_optimizer.state.values():
        state["step"].fill_(steps)


def _link_moments(engine: Engine) -> None:
    """Lets safe_* find the moments of all groups: stages 1 and 2 link them when only the first group has any."""
    if hasattr(engine.optimizer, "_hp_optimizer_states_linked"):
        engine.optimizer._hp_optimizer_states_linked = False
        engine.optimizer._lazy_init_hp_params_optimizer_state()


def _set_full(engine: Engine, parameter: nn.Parameter, value: Tensor, moment: str | None, world: World) -> None:
    """Sets a weight (`moment` None) or a moment from its full value."""
    if not _is_partitioned(engine):
        target = parameter.data if moment is None else engine.optimizer.state[parameter].get(moment)
        if target is not None:
            target.copy_(value)
    elif engine.zero_optimization_stage() == 3:
        # Partitions are padded to equal sizes, which safe_set_full_* does not do.
        size = parameter.ds_tensor.numel()  # type: ignore[attr-defined]
        padded = nn.functional.pad(value.flatten(), (0, size * world.world_size - value.numel()))
        part = padded[size * world.rank : size * (world.rank + 1)]
        if moment is None:
            ds_utils.safe_set_local_fp32_param(parameter, part)
        else:
            ds_utils.safe_set_local_optimizer_state(parameter, part, moment)
    elif moment is None:
        ds_utils.safe_set_full_fp32_param(parameter, value)
    else:
        ds_utils.safe_set_full_optimizer_state(parameter, value, moment)


def _trainable(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)


def _is_partitioned(engine: Engine) -> bool:
    """Whether fp32 weights and moments live in DeepSpeed's own buffers; at stage 0 they are the model's."""
    return bool(engine.zero_optimization_stage() > 0)
