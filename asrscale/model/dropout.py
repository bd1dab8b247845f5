"""Dropout whose masks are functions of seed, step, utterance, layer and position, on any device and in any batch.

torch draws masks from a generator, element by element of a padded batch: who shares a pass with an utterance, and how
long its padding is, decides what of it is dropped. Here each element has a hash of its own. Shapes: B utterances of a
pass, F frames, H features, A attention heads, D features of a head; S places of a model at which something is dropped.

The models' dropouts of features are as they were. That of attention drops values, (B, F, A, 1, D), rather than weights:
for all queries the same, which no fused kernel could do otherwise. What a query gets has the same distribution:
the sum over frames of weight × value, each frame dropped with a probability of its own.
"""

import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from asrscale.data.hashing import hash_keys
from asrscale.model.families import CtcModel, attentions_of, family_of

_SALT = 31  # unlike those of SpecAugment and LayerDrop

# So many features at a time have their hashes, of four bytes, in memory.
SLICE_FEATURES = 1024

_MASK_32_BITS = 0xFFFF_FFFF
_GOLDEN_RATIO = 0x9E3779B9  # of 32 bits: successive multiples are far apart


@dataclass(eq=False)
class Dropout:
    """The dropout of a model in training; `draw_keys` sets the keys of each pass."""

    features: int  # H at most
    modules: list[Any] = field(default_factory=list)  # what drops: a place of the model each, S in all
    frame_keys: Tensor | None = None  # (S, B, F) odd int32: a hash of seed, step, utterance, place and frame
    feature_keys: Tensor | None = None  # (H,) int32: a hash of the feature

    @property
    def places(self) -> int:
        """S."""
        return len(self.modules)


def keep(x: Tensor, frame_keys: Tensor, feature_keys: Tensor, probability: float) -> Tensor:
    """Returns (B, F, H, …) with each (b, f, h) zero with a probability, and all others scaled up by as much.

    Args:
        x: (B, F, H, …).
        frame_keys: (B, F or more) of this place.
        feature_keys: (H or more,).
        probability: From 0 to below 1.
    """
    _, F, H = x.shape[:3]
    frame_keys = frame_keys[:, :F, None]
    threshold = round(probability * 2**32) - 2**31  # the product of two keys is uniform over all int32
    is_kept = torch.empty(x.shape[:3], dtype=torch.bool, device=x.device)
    for first in range(0, H, SLICE_FEATURES):
        features = slice(first, first + SLICE_FEATURES)
        hashes = frame_keys * feature_keys[:H][features]
        torch.ge(hashes, threshold, out=is_kept[..., features])
    is_kept = is_kept.view(*x.shape[:3], *[1] * (x.ndim - 3))
    kept: Tensor = _KeepSome.apply(x, is_kept, 1 / (1 - probability))
    return kept


class _Drops(nn.Module):
    """What `attach_dropout` puts before a module's own class, whose output it drops some of in training.

    All that it needs are the module's own attributes, keys among them, so that layers which differ in nothing else
    share what torch.compile makes of them; a hook would not.
    """

    dropped_probability: float
    frame_keys: Tensor | None = None  # of this place, as Dropout has them
    feature_keys: Tensor | None = None

    def _keep(self, x: Tensor) -> Tensor:
        assert self.frame_keys is not None and self.feature_keys is not None, "no keys were drawn for this pass"
        return keep(x, self.frame_keys, self.feature_keys, self.dropped_probability)


class _DropsFeatures(_Drops):
    """Drops features of frames."""

    is_channels_first: bool

    def forward(self, x: Tensor) -> Tensor:
        """Returns what the module makes of (B, …), with some of it dropped in training."""
        output: Tensor = super().forward(x)  # of the module's own class
        if not self.training:
            return output
        if self.is_channels_first:
            return self._keep(output.transpose(1, 2)).transpose(1, 2)
        return self._keep(output)


class _DropsValues(_Drops):
    """Drops values of attention, of all queries and of a head's features alike."""

    dropped_heads: int

    def forward(self, x: Tensor) -> Tensor:
        """Returns what the module makes of (B, …), with some of it dropped in training."""
        output: Tensor = super().forward(x)  # of the module's own class
        if not self.training:
            return output
        by_head = output.view(*output.shape[:2], self.dropped_heads, -1)
        return self._keep(by_head).view(output.shape)


class _KeepSome(torch.autograd.Function):
    """x * is_kept * scale, by the operation that torch's own dropout has for its gradient: one kernel on a GPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, is_kept: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(is_kept)
        ctx.scale = scale
        return _scale_kept(x, is_kept, scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        [is_kept] = ctx.saved_tensors
        return _scale_kept(gradient, is_kept, ctx.scale), None, None


def _scale_kept(x: Tensor, is_kept: Tensor, scale: float) -> Tensor:
    scaled: Tensor = torch.ops.aten.native_dropout_backward(x, is_kept, scale)
    return scaled


def attach_dropout(model: CtcModel) -> Dropout:
    """Replaces a model's own dropout, which is off from now on; its configuration keeps the probabilities."""
    config = model.config
    of_adapter = getattr(config, "output_hidden_size", 0)  # which may have features of another number
    dropout = Dropout(features=max(config.hidden_size, config.intermediate_size, of_adapter))

    family = family_of(config)
    attentions = set(attentions_of(model))
    modules: list[tuple[str, Any]] = list(model.named_modules())
    for name, module in modules:
        if module in attentions:
            probability = _take_probability(module)
            if probability:
                values = module.get_submodule(family.value_projection)
                _change(dropout, values, _DropsValues, probability).dropped_heads = module.num_heads
        elif isinstance(module, nn.Dropout) and module.p:
            changed = _change(dropout, module, _DropsFeatures, module.p)
            changed.is_channels_first = bool(re.fullmatch(family.channels_first_dropout or "", name))
            changed.p = 0.0
    return dropout


def _change(dropout: Dropout, module: Any, drops: type[_Drops], probability: float) -> Any:
    """Makes a module drop some of its output, with the keys of the next place; returns the same module."""
    module.__class__ = _with_dropout(drops, type(module))  # type: ignore[arg-type]  # mypy: no class is hashable
    module.dropped_probability = probability
    dropout.modules.append(module)
    return module


@cache
def _with_dropout(drops: type[_Drops], own: type[nn.Module]) -> type[nn.Module]:
    """Returns a class for modules of class `own`: one for all, which torch.compile takes for the same."""
    return type(f"{own.__name__}WithDropout", (drops, own), {})


def _take_probability(attention: Any) -> float:
    """Returns the probability of an attention's dropout, which is off from now on."""
    probability: float
    if isinstance(attention.dropout, nn.Dropout):  # never called: the conformer's attention reads its probability
        probability = attention.dropout.p
        attention.dropout.p = 0.0
    else:
        probability = attention.dropout
        attention.dropout = 0.0
    return probability


def draw_keys(
    dropout: Dropout, utterances: NDArray[np.int64], frames: int, device: torch.device, *, seed: int, step: int
) -> None:
    """Sets the keys of a pass.

    Args:
        dropout: Gets the keys.
        utterances: (B,) the number of each row's.
        frames: F of the padded pass.
        device: The model's.
        seed: The run's seed.
        step: 0-based.
    """
    if not dropout.places:
        return
    rows = [hash_keys(dropout.places, seed, step, int(utterance), _SALT) for utterance in utterances]
    row_keys = torch.from_numpy(np.stack(rows, axis=1).astype(np.uint32).astype(np.int64)).to(device, non_blocking=True)
    counters = torch.arange(frames, device=device) * _GOLDEN_RATIO
    hashes = _mix((row_keys[:, :, None] + counters) & _MASK_32_BITS)
    dropout.frame_keys = (hashes | 1).to(torch.int32)
    if dropout.feature_keys is None or dropout.feature_keys.device != device:
        feature_keys = hash_keys(dropout.features, _SALT).astype(np.uint32).view(np.int32)
        dropout.feature_keys = torch.from_numpy(feature_keys).to(device, non_blocking=True)
    for module, frame_keys in zip(dropout.modules, dropout.frame_keys, strict=True):
        module.frame_keys, module.feature_keys = frame_keys, dropout.feature_keys


def _mix(hashes: Tensor) -> Tensor:
    """Mixes the bits of numbers below 2**32, in int64.

    The function and its constants are "lowbias32" of Wellons 2018, "Prospecting for hash functions".
    """
    hashes = hashes ^ (hashes >> 16)
    hashes = (hashes * 0x7FEB352D) & _MASK_32_BITS
    hashes = hashes ^ (hashes >> 15)
    hashes = (hashes * 0x846CA68B) & _MASK_32_BITS
    return hashes ^ (hashes >> 16)
