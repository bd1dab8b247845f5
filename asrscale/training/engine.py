"""Everything that knows DeepSpeed: starting it, steps, full states.

We decide when to step: DeepSpeed's own bookkeeping is told micro-batch 1 and accumulation 1, backward only accumulates,
and the caller scales the loss so that the sum over all passes of all ranks is the mean over the step's utterances.
"""

import logging
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from asrscale.common import distributed
from asrscale.common.distributed import World

# DeepSpeed picks its accelerator when it is imported, with a warning where nobody chose.
os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
warnings.filterwarnings("ignore", "`torch.distributed.*is deprecated", FutureWarning)  # DeepSpeed's calls, not ours

import deepspeed  # noqa: E402
from deepspeed import utils as ds_utils  # noqa: E402

ds_utils.logger.setLevel(logging.WARNING)

Engine: TypeAlias = Any  # deepspeed.DeepSpeedEngine; DeepSpeed ships no types


MOMENTS = ("exp_avg", "exp_avg_sq")


_SCALER = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")  # of DeepSpeed's DynamicLossScaler


@contextmanager
def joined_ranks() -> Iterator[World]:
    """`distributed.joined_ranks` for training, with DeepSpeed's own communication set up and taken down.

    Raises:
        CliError: As `distributed.joined_ranks`.
        TransientError: As `distributed.joined_ranks`.
    """
    # Its shared-memory all-reduce serves inference only, and is compiled at the first start.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    with distributed.joined_ranks(watched=True) as world:
        backend = torch.distributed.get_backend()
        deepspeed.init_distributed(backend, auto_mpi_discovery=False, verbose=False)
        try:
            yield world
        finally:
            deepspeed.utils.groups._WORLD_GROUP = None  # its copy of the world, which a next world must not meet


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
