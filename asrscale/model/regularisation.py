"""Dropout, SpecAugment and LayerDrop as functions of (seed, step, utterance), so that nothing of them is saved.

Every rank draws by itself: however a step is cut into passes and dealt to ranks, an utterance gets the same masks and
the same layers are dropped. Shapes: B utterances of a pass, F frames, H hidden.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Wav2Vec2ForCTC
from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices

from asrscale.data.batches import Batch
from asrscale.data.hashing import hash_keys
from asrscale.model.forward import count_frames

# SpecAugment's features are masked in runs of 64 of base's 768, as fairseq's recipes do.
FEATURE_RUN, OF_FEATURES = 64, 768


_DROPOUT_SALT, _LAYER_SALT, _MASK_SALT = 31, 32, 33


@dataclass(eq=False)
class Regulariser:
    """What the hooks of a model do in training; `prepare_pass` sets the masks and layers of each pass."""

    mask_time_prob: float  # share of frames to mask, as transformers counts it
    mask_feature_prob: float  # share of features to mask
    layerdrop: float  # share of layers to drop
    time_mask: Tensor | None = None  # (B, F) bool: frames that become the learned mask vector
    feature_mask: Tensor | None = None  # (B, H) bool: features that become zero
    dropped_layers: frozenset[int] = frozenset()


def attach_regulariser(
    model: Wav2Vec2ForCTC, *, mask_time_prob: float, mask_feature_prob: float, layerdrop: float
) -> Regulariser:
    """Hooks a Regulariser into a model whose own SpecAugment and LayerDrop are off."""
    ours, inner = Regulariser(mask_time_prob, mask_feature_prob, layerdrop), model.wav2vec2

    def mask(module: nn.Module, _: Any, output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        hidden, features = output
        if module.training and ours.time_mask is not None:
            hidden = torch.where(ours.time_mask[:, :, None], inner.masked_spec_embed.to(hidden.dtype), hidden)
        if module.training and ours.feature_mask is not None:
            hidden = hidden.masked_fill(ours.feature_mask[:, None, :], 0.0)
        return hidden, features

    def drop(number: int, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        # Computed, and multiplied by zero: a layer without a gradient would move its neighbours in ZeRO's buckets.
        return inputs[0] + 0.0 * output if module.training and number in ours.dropped_layers else output

    inner.feature_projection.register_forward_hook(mask)
    for number, layer in enumerate(inner.encoder.layers):
        layer.register_forward_hook(partial(drop, number))
    return ours


def prepare_pass(regulariser: Regulariser, model: Wav2Vec2ForCTC, batch: Batch, *, seed: int, step: int) -> None:
    """Draws what the next pass does: dropout by its first utterance, masks by each utterance, layers by the step."""
    config, device, first = model.config, model.device, int(batch.utterances[0]) if len(batch.utterances) else -1
    generator = torch.cuda if device.type == "cuda" else torch.default_generator  # torch.manual_seed formats a stack
    generator.manual_seed(int(hash_keys(1, seed, step, first, _DROPOUT_SALT)[0]))
    chance = (hash_keys(config.num_hidden_layers, seed, step, _LAYER_SALT) >> np.uint64(11)) * 2.0**-53  # 0 to below 1
    regulariser.dropped_layers = frozenset(np.flatnonzero(chance < regulariser.layerdrop).tolist())
    if not (regulariser.mask_time_prob or regulariser.mask_feature_prob):
        return
    frames = count_frames(model, torch.tensor([batch.waveforms.shape[1], *batch.num_samples.tolist()])).tolist()
    feature_run = min(FEATURE_RUN, config.hidden_size * FEATURE_RUN // OF_FEATURES)
    time_mask = np.zeros((len(frames) - 1, frames[0]), np.bool_)
    feature_mask = np.zeros((len(frames) - 1, config.hidden_size), np.bool_)
    for row, (utterance, length) in enumerate(zip(batch.utterances, frames[1:], strict=False)):
        # transformers' own arithmetic draws from numpy's global generator: a row at a time, with a seed of its own.
        np.random.seed(int(hash_keys(1, seed, step, int(utterance), _MASK_SALT)[0]) % 2**32)
        if length >= config.mask_time_length:
            spans = (regulariser.mask_time_prob, config.mask_time_length, None, config.mask_time_min_masks)
            time_mask[row, :length] = _compute_mask_indices((1, length), *spans)[0]
        spans = (regulariser.mask_feature_prob, feature_run, None, config.mask_feature_min_masks)
        feature_mask[row] = _compute_mask_indices((1, config.hidden_size), *spans)[0]
    regulariser.time_mask = torch.from_numpy(time_mask).to(device) if regulariser.mask_time_prob else None
    regulariser.feature_mask = torch.from_numpy(feature_mask).to(device) if regulariser.mask_feature_prob else None
