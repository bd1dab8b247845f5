"""The adapter of a model with `add_adapter`: convolutions behind the encoder, which make fewer frames of many.

Shapes: B utterances of a pass, C channels, F frames.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from asrscale.model.families import CtcModel, adapter_layers_of
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


class TrueLengths(nn.Module):
    """The adapter of Wav2Vec2-BERT, which attends to no more frames than there are.

    transformers counts the frames to attend to as if each convolution padded half its kernel, but they pad half their
    stride. `mask_adapter` puts it before transformers' class.
    """

    layers: Any

    def _compute_sub_sample_lengths_from_attention_mask(self, num_frames: Tensor | None) -> Tensor | None:
        """Returns the (B,) frames that the next layer attends to, of those before it; transformers calls it so.

        None where nothing is padded, of None.
        """
        if num_frames is None:
            return None
        counted: Tensor = super()._compute_sub_sample_lengths_from_attention_mask(num_frames)  # type: ignore[misc]
        made = _lengths_of(self.layers[0].residual_conv).num_outputs(cast(Any, num_frames))
        return torch.minimum(counted, made)


def mask_adapter(model: CtcModel) -> None:
    """Changes the adapter of a model, if it has one, so that padding does not change its output."""
    for layer in adapter_layers_of(model):
        for convolution in _convolutions(layer):
            convolution.__class__ = MaskedConv1d
    adapter = getattr(model.base_model, "adapter", None)
    if hasattr(adapter, "_compute_sub_sample_lengths_from_attention_mask"):
        adapter.__class__ = type("Wav2Vec2BertAdapter", (TrueLengths, type(adapter)), {})


def set_adapter_lengths(model: CtcModel, encoder_frames: Tensor) -> None:
    """Tells a model that `mask_adapter` changed the (B,) true frames of its encoder in the next pass."""
    num_frames = encoder_frames
    for layer in adapter_layers_of(model):
        convolutions = _convolutions(layer)
        for convolution in convolutions:
            convolution.num_frames = num_frames
        num_frames = _lengths_of(convolutions[0]).num_outputs(cast(Any, num_frames))


def _convolutions(layer: nn.Module) -> list[Any]:
    """Returns the convolutions of an adapter's layer: one, or two side by side, for what is attended to and beside."""
    return [module for module in layer.children() if isinstance(module, nn.Conv1d)]


def _lengths_of(module: nn.Conv1d) -> Convolution:
    """Returns what of a module decides lengths."""
    [kernel], [stride] = module.kernel_size, module.stride
    [padding] = cast(tuple[int], module.padding)
    return Convolution(kernel, stride, padding)
