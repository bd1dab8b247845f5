"""Keeps padding out of what an encoder mixes over time: its convolutions, its pooling, and its batch norms.

The encoders of transformers set padding to zero once, at their input, and mask it in attention. What a later layer
makes of these zeros is no longer zero, and reaches the real frames beside it through the next convolution. Alone, an
utterance has the zeros of the convolution's own padding there.

Shapes: B utterances of a pass, C channels, F frames, P frames of an encoder that pools, H hidden.
"""

import re
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.masking_utils import create_bidirectional_mask

from asrscale.model.families import CtcModel, encoder_of, family_of


@dataclass(eq=False)
class RealFrames:
    """Which frames of the pass that is being computed are no padding; the input of the encoder says it."""

    mask: Tensor | None = None  # (B, F) bool; None: nothing is padded
    pooled_mask: Any = None  # the same of pooled frames, in the form that the attention implementation has it


def keep_padding_out(model: CtcModel) -> None:
    """Hooks into an encoder so that no frame of an utterance sees the padding behind it."""
    encoder = encoder_of(model)
    real = RealFrames()
    for module in _before_convolutions(model):
        module.register_forward_hook(partial(_zero_padding, real))
    if hasattr(encoder, "pool"):
        _pool_real_frames(model, real)
    encoder.register_forward_pre_hook(partial(_note_real_frames, real), with_kwargs=True)
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.__class__ = FixedBatchNorm


def mixes_padding(model: CtcModel) -> bool:
    """Whether an encoder of transformers lets frames see the padding behind them, so that hooks have to keep it out."""
    return bool(_before_convolutions(model)) or hasattr(encoder_of(model), "pool")


def _before_convolutions(model: CtcModel) -> list[nn.Module]:
    """Returns the modules of an encoder whose outputs a convolution over time gets; none in most families."""
    pattern = family_of(model.config).before_convolutions
    if pattern is None:
        return []
    return [module for name, module in encoder_of(model).named_modules() if re.fullmatch(pattern, name)]


def _note_real_frames(real: RealFrames, _module: nn.Module, _inputs: Any, settings: dict[str, Any]) -> None:
    """Takes the mask of a pass from what the encoder gets."""
    real.mask = settings.get("attention_mask")
    real.pooled_mask = None


def _zero_padding(real: RealFrames, _module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    """Returns (B, C, F) with zeros behind each utterance."""
    if real.mask is None:
        return output
    return output.masked_fill(~real.mask[:, None, :], 0.0)


class FixedBatchNorm(nn.BatchNorm1d):
    """A batch norm with the statistics of its checkpoint in training, too, as in evaluation.

    Those of a batch would depend on its padding, on who shares a pass with an utterance, and on the number of ranks.
    The state dict is stock. docs/decisions/batch-norm.md says more.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Returns (B, C, F) with each channel shifted and scaled by what the checkpoint has counted."""
        return functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


def _pool_real_frames(model: CtcModel, real: RealFrames) -> None:
    """Lets an encoder that pools frames (SEW) see as many as it has of each utterance alone.

    A last group of frames that is not full is pooled away alone, and its frames are zeros behind the encoder. In a
    batch transformers pools it with padding, and attends to it.
    """
    encoder = encoder_of(model)
    group = model.config.squeeze_factor

    def mask_keys(
        _layer: nn.Module, inputs: tuple[Tensor], settings: dict[str, Any]
    ) -> tuple[tuple[Tensor], dict[str, Any]]:
        if real.mask is None:
            return inputs, settings
        if real.pooled_mask is None:
            [hidden] = inputs
            groups = (real.mask.sum(-1) // group).clamp(min=1)
            is_real = torch.arange(hidden.shape[1], device=hidden.device) < groups[:, None]
            real.pooled_mask = (
                create_bidirectional_mask(config=model.config, inputs_embeds=hidden, attention_mask=is_real),
            )
        [attention_mask] = real.pooled_mask
        return inputs, settings | {"attention_mask": attention_mask}

    def zero_rest(_upsampling: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        if real.mask is None:
            return output
        frames = real.mask.sum(-1) // group * group
        is_rest = torch.arange(output.shape[1], device=output.device) >= frames[:, None]
        return output.masked_fill(is_rest[:, :, None], 0.0)

    for layer in encoder.layers:
        layer.register_forward_pre_hook(mask_keys, with_kwargs=True)
    encoder.upsample.register_forward_hook(zero_rest)
