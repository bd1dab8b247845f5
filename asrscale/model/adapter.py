"""The adapter of a model with `add_adapter`: convolutions behind the encoder, which make fewer frames of many.

Shapes: B utterances of a pass, C channels, F frames.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from asrscale.model.families import CtcModel
from asrscale.speech.frames import Convolution


class MaskedConv1d(nn.Conv1d):
    """A convolution that reads zeros after an utterance's end, as it does where nothing follows.

    transformers masks what it gives the encoder, but not what comes out of it. The state dict is stock.
    """

    num_frames: Tensor | None = None  # (B,) true frames of its input in this pass; None: nothing is padded

    def forward(self, x: Tensor) -> Tensor:
        """Returns (B, C, F) of the true frames of (B, C, F)."""
        if self.num_frames is not None:
            is_padding = torch.arange(x.shape[-1], device=x.device) >= self.num_frames[:, None]
            x = x.masked_fill(is_padding[:, None, :], 0.0)
        return super().forward(x)


def mask_adapter(model: CtcModel) -> None:
    """Changes the adapter of a model, if it has one, so that padding does not change its output."""
    for convolution in _convolutions(model):
        convolution.__class__ = MaskedConv1d


def set_adapter_lengths(model: CtcModel, encoder_frames: Tensor) -> None:
    """Tells a model that `mask_adapter` changed the (B,) true frames of its encoder in the next pass."""
    num_frames = encoder_frames
    for convolution in _convolutions(model):
        convolution.num_frames = num_frames
        num_frames = _lengths_of(convolution).num_outputs(cast(Any, num_frames))


def _convolutions(model: CtcModel) -> list[Any]:
    """Returns the convolutions of a model's adapter, the first one first; none where it has no adapter."""
    adapter = getattr(model.base_model, "adapter", None)
    return [layer.conv for layer in adapter.layers] if adapter else []


def _lengths_of(module: nn.Conv1d) -> Convolution:
    """Returns what of a module decides lengths."""
    [kernel], [stride] = module.kernel_size, module.stride
    [padding] = cast(tuple[int], module.padding)
    return Convolution(kernel, stride, padding)
