"""The gradients of a model that is whole on every rank (ZeRO stage 0), as parts of one tensor.

So they are cleared, added up over the ranks and scaled by one call each, without a copy. With a call for each parameter
this takes a small model a millisecond more of a step of thirty.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_NORM_OFFSET = 1e-6  # as torch.nn.utils.clip_grad_norm_ has it


@dataclass(frozen=True, eq=False)
class FlatGradients:
    """One tensor, and the parameters whose gradients are its parts."""

    flat: Tensor  # all gradients, one after another
    parameters: tuple[nn.Parameter, ...]
    parts: tuple[Tensor, ...]  # of `flat`, each as its parameter is shaped


def attach_flat_gradients(parameters: Iterable[nn.Parameter]) -> FlatGradients:
    """Gives parameters, all of one type on one device, gradients of zero, to which backward passes add."""
    trained = tuple(parameters)
    sizes = [parameter.numel() for parameter in trained]
    flat = torch.zeros(sum(sizes), dtype=trained[0].dtype, device=trained[0].device)
    parts = zip(torch.split(flat, sizes), trained, strict=True)
    gradients = FlatGradients(flat, trained, tuple(part.view_as(parameter) for part, parameter in parts))
    clear(gradients)
    return gradients


def clear(gradients: FlatGradients) -> None:
    """Makes all gradients zero."""
    gradients.flat.zero_()
    for parameter, part in zip(gradients.parameters, gradients.parts, strict=True):
        parameter.grad = part


def add_up_and_clip(gradients: FlatGradients, most: float, world_size: int) -> float:
    """Adds up the gradients over all ranks, and scales them down to a norm of `most`. A collective.

    Where the norm is not finite, parameters have no gradient afterwards: AdamW leaves these as they are, and their
    moments. `clear` gives them back.

    Returns:
        The norm of all gradients together, before they are scaled.
    """
    if world_size > 1:
        torch.distributed.all_reduce(gradients.flat)
    norm_on_device = nn.utils.get_total_norm(gradients.parts)
    norm = float(norm_on_device)
    if math.isfinite(norm):
        gradients.flat.mul_(torch.clamp(most / (norm_on_device + _NORM_OFFSET), max=1.0))
    else:
        for parameter in gradients.parameters:
            parameter.grad = None
    return norm
