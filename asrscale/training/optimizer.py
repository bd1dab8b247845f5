"""The optimizer: AdamW over groups of parameters, which differ in weight decay and in when they are trained."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from asrscale.training.schedule import LearningRates


@dataclass(frozen=True)
class _GroupKind:
    """What the parameters of a group have in common."""

    is_head: bool
    is_decayed: bool


def trainable_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yields name and parameter of those that are trained, in the order of the model."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            yield name, parameter


def build_optimizer(model: nn.Module, *, weight_decay: float, adam_beta2: float) -> torch.optim.AdamW:
    """Returns AdamW for the trainable parameters of a model; the learning rate comes with each step.

    Biases, norms and the convolutional stem are not decayed. The head has groups of its own, for `set_learning_rates`.
    """
    groups: dict[_GroupKind, dict[str, Any]] = {}
    for name, parameter in trainable_parameters(model):
        kind = _group_kind(name, parameter)
        if kind not in groups:
            groups[kind] = {
                "params": [],
                "is_head": kind.is_head,
                "is_held": False,
                "weight_decay": weight_decay if kind.is_decayed else 0.0,
            }
        groups[kind]["params"].append(parameter)
    optimizer = torch.optim.AdamW(list(groups.values()), lr=0.0, betas=(0.9, adam_beta2), fused=True)
    # No class of its own: DeepSpeed warns of optimizers that it does not know.
    optimizer.step = partial(_step_unless_held, optimizer, optimizer.step)  # type: ignore[method-assign]
    return optimizer


def _step_unless_held(optimizer: torch.optim.Optimizer, step: Callable[[], Any]) -> None:
    """Takes a step of an optimizer; groups that are held keep their weights, their moments and their count of steps."""
    groups = optimizer.param_groups
    optimizer.param_groups = [group for group in groups if not group["is_held"]]
    try:
        step()
    finally:
        optimizer.param_groups = groups


def _group_kind(name: str, parameter: nn.Parameter) -> _GroupKind:
    """Returns the kind of group that a parameter belongs to."""
    is_stem = "feature_extractor." in name
    is_bias_or_norm = parameter.ndim < 2
    return _GroupKind(is_head=name.startswith("lm_head."), is_decayed=not (is_stem or is_bias_or_norm))


def set_learning_rates(groups: Iterable[dict[str, Any]], rates: LearningRates) -> None:
    """Sets the learning rates of a step in the groups of `build_optimizer`; those without one are held."""
    for group in groups:
        rate = rates.head if group["is_head"] else rates.below
        group["is_held"] = rate is None
        group["lr"] = rate or 0.0
