"""Makes a model's output independent of padding, and saves memory in its frozen convolutions.

Shapes: B utterances of a pass, T samples, C channels, F frames.
"""

from typing import Any

import torch
from torch import Tensor, nn

from asrscale.model.adapter import mask_adapter
from asrscale.model.attention_modules import replace_attention_modules
from asrscale.model.encoder_padding import keep_padding_out, mixes_padding
from asrscale.model.families import CtcModel, adapter_layers_of, stem_of
from asrscale.speech.pcm import SAMPLE_RATE_HZ

# Padded audio that the convolutional stem takes at once where it needs no gradient: enough to keep a GPU busy, and an
# eighth or less of a pass. docs/experiments/memory.md has what it saves and costs.
SLICE_SAMPLES = 10 * SAMPLE_RATE_HZ


class MaskedGroupNorm(nn.GroupNorm):
    """The first norm of group-norm checkpoints (base, large-960h), with statistics over real frames only.

    Stock group norm averages over the padding too, so that an utterance's text depends on the others of its batch. The
    state dict is stock.
    """

    num_frames: Tensor | None = None  # (B,) true frames of the slice that is being computed; None: nothing is padded

    def forward(self, x: Tensor) -> Tensor:
        """Returns (B, C, F) with each channel normalised over its real frames, in fp32."""
        if self.num_frames is None:
            return super().forward(x)
        count = self.num_frames[:, None, None]
        if torch.is_grad_enabled():
            normalised = standardise(x.float(), count, self.eps)
            return (normalised * self.weight[:, None] + self.bias[:, None]).to(x.dtype)
        # In place: these are the largest tensors of a pass, and new ones would take four times as long and more memory.
        normalised = _standardise_in_place(x.float(), count, self.eps)
        return normalised.mul_(self.weight[:, None]).add_(self.bias[:, None]).to(x.dtype)


class SlicedStem(nn.Module):
    """A convolutional stem which takes a few utterances at a time where it is frozen.

    `make_padding_invariant` puts it before a family's own class, whose forward pass it replaces.

    That changes no result: no norm of the stem sees two utterances. It saves memory: the stem's first layer, 512
    channels at 3,200 Hz, was the peak of a step with activation checkpointing.
    """

    conv_layers: Any
    _requires_grad: bool
    num_samples: Tensor | None = None  # (B,) true lengths of the pass that is being computed; None: nothing is padded

    def forward(self, input_values: Tensor) -> Tensor:
        """Returns the features (B, C, F) of waveforms (B, T)."""
        if self._requires_grad:
            return self._features(input_values, slice(None))
        size = max(1, SLICE_SAMPLES // input_values.shape[1])
        slices = [slice(start, start + size) for start in range(0, len(input_values), size)]
        with torch.no_grad():
            return torch.cat([self._features(input_values, rows) for rows in slices])

    def _features(self, input_values: Tensor, rows: slice) -> Tensor:
        """Returns the features of some rows of (B, T) waveforms."""
        first = self.conv_layers[0]
        if isinstance(first.layer_norm, MaskedGroupNorm) and self.num_samples is not None:
            [kernel] = first.conv.kernel_size
            [stride] = first.conv.stride
            first.layer_norm.num_frames = ((self.num_samples[rows] - kernel) // stride + 1).clamp(min=1)
        # As transformers does; but it asks for the gradient of the waveforms as well, which nobody needs.
        hidden = input_values[rows, None]
        for layer in self.conv_layers:
            hidden = layer(hidden)
        return hidden


def make_padding_invariant(model: CtcModel) -> CtcModel:
    """Changes a model so that padding does not change its output; returns the same model.

    In the stem only a group norm has to be replaced: the other norms see one frame at a time.
    """
    stem = stem_of(model)
    if stem is not None:
        _replace_stem_modules(model, stem)
    keep_padding_out(model)
    mask_adapter(model)
    replace_attention_modules(model)
    return model


def is_stock_padding_invariant(model: CtcModel) -> bool:
    """Whether stock transformers gives an utterance the same output in a padded batch as alone, cut to its frames."""
    has_group_norm = stem_of(model) is not None and getattr(model.config, "feat_extract_norm", "layer") == "group"
    return not (has_group_norm or adapter_layers_of(model) or mixes_padding(model))


def _replace_stem_modules(model: CtcModel, stem: Any) -> None:
    """Changes the stem of a model, and its group norm if it has one."""
    stem.__class__ = type("SlicedFeatureEncoder", (SlicedStem, type(stem)), {})
    if getattr(model.config, "feat_extract_norm", "layer") == "group":  # data2vec-audio has layer norms only
        norm = stem.conv_layers[0].layer_norm
        assert norm.num_groups == norm.num_channels, "transformers normalises each channel by itself"
        norm.__class__ = MaskedGroupNorm


def standardise(x: Tensor, count: Tensor, epsilon: float) -> Tensor:
    """Returns (…, T) shifted and scaled to zero mean and unit variance over the first `count` (…, 1) of its T values.

    `epsilon` is added to the variance.
    """
    real = torch.arange(x.shape[-1], device=x.device) < count
    mean = (x * real).sum(-1, keepdim=True) / count
    centred = x - mean
    variance = (centred.square() * real).sum(-1, keepdim=True) / count
    return centred * torch.rsqrt(variance + epsilon)


def _standardise_in_place(x: Tensor, count: Tensor, epsilon: float) -> Tensor:
    """Returns x changed to what `standardise` returns, to the last bit, but for what lies behind the first `count`."""
    real = torch.arange(x.shape[-1], device=x.device) < count
    x.mul_(real)
    x.sub_(x.sum(-1, keepdim=True) / count).mul_(real)
    variance = x.square().sum(-1, keepdim=True) / count
    return x.mul_(torch.rsqrt(variance + epsilon))
