"""The optimizer: AdamW over groups of parameters, which differ in weight decay and in when they are trained."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


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

    Biases, norms and the convolutional stem are not decayed. The head has groups of its own, for `set_learning_rate`.
    """
    groups: dict[_GroupKind, dict[str, Any]] = {}
    for name, parameter in trainable_parameters(model):
        kind = _group_kind(name, parameter)
        if kind not in groups:
            groups[kind] = {
                "params": [],
                "is_head": kind.is_head,
                "weight_decay": weight_decay if kind.is_decayed else 0.0,
            }
        groups[kind]["params"].append(parameter)
    return torch.optim.AdamW(list(groups.values()), lr=0.0, betas=(0.9, adam_beta2), fused=True)


def _group_kind(name: str, parameter: nn.Parameter) -> _GroupKind:
    """Returns the kind of group that a parameter belongs to."""
    is_stem = "feature_extractor." in name
    is_bias_or_norm = parameter.ndim < 2
    return _GroupKind(is_head=name.startswith("lm_head."), is_decayed=not (is_stem or is_bias_or_norm))


def set_learning_rate(groups: Iterable[dict[str, Any]], learning_rate: float, *, head_only: bool) -> None:
    """Sets the learning rate of a step in the groups of `build_optimizer`.

    With `head_only` it is 0 for all weights but the head's, which keeps them as they are, weight decay included. Their
    moments are kept up meanwhile: begun at 0 later, they would make Adam's first steps three times too long.
    """
    for group in groups:
        is_trained = group["is_head"] or not head_only
        group["lr"] = learning_rate if is_trained else 0.0
