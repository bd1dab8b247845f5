"""Everything that knows DeepSpeed: starting it, steps, full states.

We decide when to step: DeepSpeed's own bookkeeping gets micro-batch 1 and accumulation 1, backward only accumulates,
and the caller scales the loss so that the sum over all passes of all ranks is the mean over the step's utterances.
"""

import importlib
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
from asrscale.training.flat_gradients import FlatGradients, add_up_and_clip, attach_flat_gradients, clear
from asrscale.training.optimizer import build_optimizer, set_learning_rates, trainable_parameters
from asrscale.training.schedule import LearningRates

# DeepSpeed picks its accelerator when it is imported, with a warning where nobody chose.
os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
warnings.filterwarnings("ignore", "`torch.distributed.*is deprecated", FutureWarning)  # DeepSpeed's calls, not ours

import deepspeed  # noqa: E402
from deepspeed import utils as ds_utils  # noqa: E402

ds_utils.logger.setLevel(logging.WARNING)

Engine: TypeAlias = Any  # deepspeed.DeepSpeedEngine; DeepSpeed ships no types

MOMENTS = ("exp_avg", "exp_avg_sq")  # as AdamW and DeepSpeed name them
AVERAGE = "weight_average"  # stands beside the moments where a run keeps a moving average of its weights
_STEPS_OF_HEAD, _STEPS_BELOW = "adam_steps", "adam_steps_below"
_SCALER = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")  # of DeepSpeed's DynamicLossScaler


@contextmanager
def joined_ranks() -> Iterator[World]:
    """`distributed.joined_ranks` for training, with DeepSpeed's own communication set up and taken down.

    Raises:
        CliError: As `distributed.joined_ranks`.
        TransientError: As `distributed.joined_ranks`.
    """
    # Its shared-memory all-reduce serves inference only, and is compiled at the first start. It is all that this table
    # is for; to make its own, DeepSpeed would try a compiler on every operation it has.
    vars(deepspeed.ops)["__compatible_ops__"] = {"deepspeed_shm_comm": False}
    with distributed.joined_ranks(watched=True) as world:
        backend = torch.distributed.get_backend()
        deepspeed.init_distributed(backend, auto_mpi_discovery=False, verbose=False)
        try:
            yield world
        finally:
            deepspeed.utils.groups._WORLD_GROUP = None  # its copy of the world, which a next world must not meet


def _import_muon() -> None:
    """Imports Muon, an optimizer that DeepSpeed compares ours with, without compiling the functions of its module.

    DeepSpeed would import it by itself, and with it all of torch's compiler: a fifth of the time to the first step.
    """
    compile_function = torch.compile
    torch.compile = lambda function=None, **_: function or (lambda undecorated: undecorated)  # type: ignore[assignment]
    try:
        importlib.import_module("deepspeed.runtime.zero.muon.muon_optimizer")
    finally:
        torch.compile = compile_function


def initialize(model: nn.Module, ds_config: dict[str, Any], *, weight_decay: float, adam_beta2: float) -> Engine:
    """Wraps the trainable parameters of a model in DeepSpeed, with the optimizer of `optimizer.build_optimizer`.

    Args:
        model: On the device of this rank.
        ds_config: From `ds_config.resolve_ds_config`.
        weight_decay: Of AdamW.
        adam_beta2: Of AdamW.
    """
    optimizer = build_optimizer(model, weight_decay=weight_decay, adam_beta2=adam_beta2)
    _import_muon()
    engine = deepspeed.initialize(model=model, optimizer=optimizer, config=ds_config)[0]
    if not _is_partitioned(engine):
        _flatten_gradients(engine)
    return engine


def _flatten_gradients(engine: Engine) -> None:
    """Lets a step at stage 0 work on all gradients at once; DeepSpeed would copy each to and from a buffer."""
    gradients = attach_flat_gradients(parameter for _, parameter in trainable_parameters(engine.module))
    engine.enable_backward_allreduce = False
    # DeepSpeed calls it before each step, as `--max_gradient_norm` is above 0: so ranks are added up there.
    engine.clip_fp32_gradients = partial(_add_up_and_clip, engine, gradients)
    engine.zero_grad = partial(clear, gradients)


def _add_up_and_clip(engine: Engine, gradients: FlatGradients) -> None:
    """What stage 0 does before the optimizer's step; as at other stages, there is none if the norm is not finite."""
    world_size = torch.distributed.get_world_size()
    norm = add_up_and_clip(gradients, engine.gradient_clipping(), world_size)
    engine.optimizer._global_grad_norm = norm  # where DeepSpeed looks for it


def backward(engine: Engine, loss: Tensor, world: World) -> None:
    """Adds the gradient of this pass's share of the step's loss; in a step those of all ranks are summed."""
    divided_by = world.world_size if _is_partitioned(engine) else 1  # where DeepSpeed reduces, it averages
    engine.backward(loss * divided_by, scale_wrt_gas=False)


def take_step(engine: Engine, rates: LearningRates) -> float:
    """Reduces, clips and applies what `backward` added up; weights that got no gradient have one of zero.

    Returns:
        The norm of the whole gradient before clipping. Where it is not finite, no rank has changed anything.
    """
    set_learning_rates(engine.optimizer.param_groups, rates)
    engine.step()
    norm = float(engine.get_global_grad_norm())
    if not math.isfinite(norm) and hasattr(engine.optimizer, "all_grad_tensors"):
        # With offload, stages 1 and 2 would add to what is not finite for ever.
        engine.optimizer.averaged_gradients = {}
        engine.optimizer.all_grad_tensors = {}
    return norm


def start_average(engine: Engine) -> None:
    """Begins a moving average of the trained weights, which it equals at first.

    It is kept in fp32 as AdamW's moments are, whose states must exist: a rank has its own part of it, and what finds,
    gathers and sets the moments at any ZeRO stage does the same for it.
    """
    for weights, state in engine.basic_optimizer.state.items():
        state[AVERAGE] = weights.detach().clone()


def update_average(engine: Engine, decay: float) -> None:
    """Moves the average towards the weights: decay · average + (1 - decay) · weights, in place."""
    for weights, state in engine.basic_optimizer.state.items():
        state[AVERAGE].lerp_(weights.detach(), 1 - decay)


def _kept_states(engine: Engine) -> tuple[str, ...]:
    """Returns what is kept of each weight beside itself: both moments, and the average where a run has one."""
    has_average = any(AVERAGE in state for state in engine.basic_optimizer.state.values())
    return (*MOMENTS, AVERAGE) if has_average else MOMENTS


def meets_inside_passes(engine: Engine, world: World) -> bool:
    """Whether a rank that gives up a pass half-way leaves others waiting, or, at stage 3, weights half fetched."""
    first_stage = 3 if world.world_size == 1 else 2
    return bool(engine.zero_optimization_stage() >= first_stage)


def abandon_pass(engine: Engine) -> None:
    """Makes DeepSpeed forget that it is in a backward pass, which was given up half-way; the gradient is void."""
    optimizer = engine.optimizer
    if not getattr(optimizer, "_backward_active_depth", 0):
        return
    if engine.zero_optimization_stage() == 2:
        optimizer.setup_buckets()
        for pending in (optimizer.extra_large_param_to_reduce, *optimizer.ipg_buckets.values()):
            pending.clear()
    engine._backward_epilogue()


def gather_weights(engine: Engine, frozen: dict[str, Tensor], world: World) -> dict[str, Tensor]:
    """Returns all weights by name, in fp32 on the CPU of rank 0, and none on other ranks. A collective.

    Args:
        engine: What holds the weights that are trained.
        frozen: The others, as they were loaded.
        world: This process among the ranks.
    """
    trained = _gather(engine, None, world)
    return (frozen if world.is_main else {}) | trained


def gather_moments(engine: Engine, world: World) -> dict[str, Tensor]:
    """Returns Adam's state, on the CPU of rank 0, and nothing on other ranks. A collective.

    Both moments of every trainable parameter are `exp_avg/NAME` and `exp_avg_sq/NAME`, in fp32, and so is its moving
    average, `weight_average/NAME`, if there is one; `adam_steps` counts Adam's steps of the head, `adam_steps_below`
    those of all other weights; and a dynamic loss scale is as in `scaler_state`.
    """
    _link_moments(engine)
    gathered: dict[str, Tensor] = {}
    for moment in _kept_states(engine):
        gathered |= _gather(engine, moment, world)
    if not world.is_main:
        return {}
    steps = {_STEPS_OF_HEAD: 0, _STEPS_BELOW: 0}
    for is_head, state in _adam_states(engine):
        key = _STEPS_OF_HEAD if is_head else _STEPS_BELOW
        steps[key] = max(steps[key], int(state["step"]))
    counts = {key: torch.tensor(count) for key, count in steps.items()}
    return gathered | scaler_state(engine.optimizer) | counts


def _gather(engine: Engine, moment: str | None, world: World) -> dict[str, Tensor]:
    """Returns full weights (`moment` None) or a moment, by name, in fp32 on the CPU of rank 0. A collective."""
    gathered: dict[str, Tensor] = {}
    for name, parameter in trainable_parameters(engine.module):
        full = _full_value(engine, parameter, moment)
        if world.is_main:
            key = f"{moment}/{name}" if moment else name
            gathered[key] = full.detach().float().cpu().clone()
    return gathered


def _full_value(engine: Engine, parameter: nn.Parameter, moment: str | None) -> Tensor:
    """Returns a full weight (`moment` None) or a moment of it. A collective."""
    full: Tensor
    if not _is_partitioned(engine):
        states = engine.optimizer.state.get(parameter, {})
        full = parameter.data if moment is None else states.get(moment)
        if full is None:  # a parameter that never had a gradient has no moments yet, and is its own average
            full = parameter.data if moment == AVERAGE else torch.zeros_like(parameter)
    elif moment is None:
        full = ds_utils.safe_get_full_fp32_param(parameter)
    else:
        full = ds_utils.safe_get_full_optimizer_state(parameter, moment)
    return full


def scaler_state(optimizer: Any) -> dict[str, Tensor]:
    """Returns the dynamic loss scale of fp16 and its counters, as `loss_scaler/NAME`; nothing at other precisions."""
    scaler = getattr(optimizer, "loss_scaler", None)
    if not getattr(scaler, "dynamic", False):
        return {}
    return {f"loss_scaler/{name}": torch.tensor(getattr(scaler, name), dtype=torch.float64) for name in _SCALER}


def restore_scaler(optimizer: Any, states: dict[str, Tensor]) -> None:
    """Sets what `scaler_state` returned, where the optimizer has a dynamic loss scale now as well."""
    for key in scaler_state(optimizer).keys() & states.keys():
        name = key.removeprefix("loss_scaler/")
        number_type = type(getattr(optimizer.loss_scaler, name))  # int or float
        setattr(optimizer.loss_scaler, name, number_type(states[key]))


def restore_state(engine: Engine, weights: dict[str, Tensor], moments: dict[str, Tensor], world: World) -> None:
    """Sets fp32 weights and moments as gathered, at any stage and number of ranks.

    Before, the model got the same weights, then `initialize`, then a step at learning rate 0 that made the moments, and
    `start_average` if there is an average.
    """
    _link_moments(engine)
    for name, parameter in trainable_parameters(engine.module):
        _set_full(engine, parameter, weights[name].to(world.device), None, world)
        for moment in _kept_states(engine):
            _set_full(engine, parameter, moments[f"{moment}/{name}"].to(world.device), moment, world)
    of_head = int(moments[_STEPS_OF_HEAD])
    below = int(moments.get(_STEPS_BELOW, of_head))  # one count in checkpoints of older versions
    set_adam_steps(engine, of_head=of_head, below=below)
    restore_scaler(engine.optimizer, moments)


def set_adam_steps(engine: Engine, *, of_head: int, below: int) -> None:
    """Sets how many steps Adam believes to have taken, of the head and of all other weights."""
    for is_head, state in _adam_states(engine):
        state["step"].fill_(of_head if is_head else below)


def _adam_states(engine: Engine) -> Iterator[tuple[bool, dict[str, Tensor]]]:
    """Yields what Adam keeps on this rank, part by part, and whether a part is of the head."""
    groups = engine.basic_optimizer.param_groups
    if engine.zero_optimization_stage() == 3:  # has no parameters in these groups, but while it takes a step
        flat = engine.optimizer.fp32_partitioned_groups_flat
        parts = [(flat[part], groups[number]) for part, number in engine.optimizer.sub_group_to_group_id.items()]
    else:
        parts = [(parameter, group) for group in groups for parameter in group["params"]]
    states = engine.basic_optimizer.state
    for parameter, group in parts:
        if parameter in states:
            yield group["is_head"], states[parameter]


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
        _set_own_part(parameter, value, moment, world)
    elif moment is None:
        ds_utils.safe_set_full_fp32_param(parameter, value)
    else:
        ds_utils.safe_set_full_optimizer_state(parameter, value, moment)


def _set_own_part(parameter: nn.Parameter, value: Tensor, moment: str | None, world: World) -> None:
    """Sets this rank's part of a weight (`moment` None) or a moment, at stage 3, from the full value.

    Partitions are padded to equal sizes, which safe_set_full_* does not do.
    """
    size = parameter.ds_tensor.numel()  # type: ignore[attr-defined]
    padded = nn.functional.pad(value.flatten(), (0, size * world.world_size - value.numel()))
    part = padded[size * world.rank : size * (world.rank + 1)]
    if moment is None:
        ds_utils.safe_set_local_fp32_param(parameter, part)
    else:
        ds_utils.safe_set_local_optimizer_state(parameter, part, moment)


def _is_partitioned(engine: Engine) -> bool:
    """Whether fp32 weights and moments live in DeepSpeed's own buffers; at stage 0 they are the model's."""
    return bool(engine.zero_optimization_stage() > 0)
