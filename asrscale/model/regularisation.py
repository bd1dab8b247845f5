"""Dropout, SpecAugment and LayerDrop as functions of seed, step and utterance, so that nothing of them is saved.

Every rank draws by itself: however a step is cut into passes and dealt to ranks, an utterance gets the same masks and
the same layers are dropped. Shapes: B utterances of a pass, F frames, H hidden.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices

from asrscale.data.batches import Batch
from asrscale.data.hashing import hash_keys
from asrscale.model.dropout import Dropout, attach_dropout, draw_keys
from asrscale.model.families import CtcModel, encoder_of, geometry_of_model
from asrscale.model.layerdrop import Compute, skip_layer

# SpecAugment's features are masked in runs of 64 of base's 768, as fairseq's recipes do.
FEATURE_RUN = 64
FEATURE_RUN_OF = 768

# Different salts, unlike that of dropout, so that what is drawn of one kind does not repeat in another.
_LAYER_SALT = 32
_MASK_SALT = 33

_NO_UTTERANCE = -1  # the number of each row of an empty pass, for its dropout


@dataclass(eq=False)
class Regulariser:
    """What the hooks of a model do in training; `prepare_pass` sets the masks and layers of each pass."""

    dropout: Dropout
    mask_time_prob: float  # share of frames to mask, as transformers counts it
    mask_feature_prob: float  # share of features to mask
    layerdrop: float  # share of layers to drop
    time_mask: Tensor | None = None  # (B, F) bool: frames that become the learned mask vector
    feature_mask: Tensor | None = None  # (B, H) bool: features that become zero
    dropped_layers: frozenset[int] = frozenset()


def attach_regulariser(
    model: CtcModel, *, mask_time_prob: float, mask_feature_prob: float, layerdrop: float
) -> Regulariser:
    """Hooks a Regulariser into a model whose own SpecAugment and LayerDrop are off; returns it.

    The model's own dropout is replaced.
    """
    regulariser = Regulariser(attach_dropout(model), mask_time_prob, mask_feature_prob, layerdrop)
    encoder = encoder_of(model)

    def mask(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        [hidden] = inputs
        if not module.training:
            return inputs
        if regulariser.time_mask is not None:
            mask_vector = model.base_model.masked_spec_embed.to(hidden.dtype)
            hidden = torch.where(regulariser.time_mask[:, :, None], mask_vector, hidden)
        if regulariser.feature_mask is not None:
            hidden = hidden.masked_fill(regulariser.feature_mask[:, None, :], 0.0)
        return (hidden,)

    encoder.register_forward_pre_hook(mask)
    for number, layer in enumerate(encoder.layers):
        layer.forward = partial(_compute_or_skip, regulariser, number, layer, layer.forward)
    return regulariser


def _compute_or_skip(
    regulariser: Regulariser, number: int, layer: nn.Module, compute: Compute, hidden: Tensor, **settings: Any
) -> Any:
    """Is the forward pass of an encoder's layer: its own, unless it is dropped.

    Args:
        regulariser: Knows which layers are dropped.
        number: The layer's.
        layer: The layer.
        compute: Its own forward pass.
        hidden: (B, F, H) what it gets.
        settings: What it gets beside that.
    """
    if layer.training and number in regulariser.dropped_layers:
        return skip_layer(layer, compute, hidden, settings)
    return compute(hidden, **settings)


def prepare_pass(regulariser: Regulariser, model: CtcModel, batch: Batch, *, seed: int, step: int) -> None:
    """Draws what is random in the next pass.

    Dropout and the masks depend on each utterance, the dropped layers on the step alone.

    Args:
        regulariser: Gets keys, masks and layers, on the model's device.
        model: The model that it is attached to.
        batch: The pass.
        seed: The run's seed.
        step: 0-based.
    """
    _draw_dropout(regulariser.dropout, model, batch, seed=seed, step=step)
    regulariser.dropped_layers = _draw_layers(
        model.config.num_hidden_layers, regulariser.layerdrop, seed=seed, step=step
    )
    if regulariser.mask_time_prob or regulariser.mask_feature_prob:
        _draw_masks(regulariser, model, batch, seed=seed, step=step)


def _draw_dropout(dropout: Dropout, model: CtcModel, batch: Batch, *, seed: int, step: int) -> None:
    """Sets the keys of dropout; the rows of an empty pass, which holds no utterance, have those of number -1."""
    utterances = batch.utterances
    if not len(utterances):
        utterances = np.full(len(batch.num_samples), _NO_UTTERANCE)
    frames = most_frames(model, batch.waveforms.shape[1])
    draw_keys(dropout, utterances, frames, model.device, seed=seed, step=step)


def most_frames(model: CtcModel, num_samples: int) -> int:
    """Returns how many frames there are at a place of the model, of so many samples: most at the encoder's.

    What an adapter pads may make them more behind it.
    """
    geometry = geometry_of_model(model)
    return max(geometry.num_encoder_frames(num_samples), geometry.num_frames(num_samples))


def _draw_layers(num_layers: int, layerdrop: float, *, seed: int, step: int) -> frozenset[int]:
    """Returns the numbers of the layers that are dropped in a step, each with probability `layerdrop`."""
    hashes = hash_keys(num_layers, seed, step, _LAYER_SALT)
    chances = (hashes >> np.uint64(11)) * 2.0**-53  # the upper 53 bits, which a float64 holds: from 0 to below 1
    return frozenset(np.flatnonzero(chances < layerdrop).tolist())


def _draw_masks(regulariser: Regulariser, model: CtcModel, batch: Batch, *, seed: int, step: int) -> None:
    """Sets the masks of a pass; those of the rows of an empty pass, which holds no utterance, mask nothing."""
    config = model.config
    rows = len(batch.num_samples)
    geometry = geometry_of_model(model)
    padded_frames = geometry.num_encoder_frames(batch.waveforms.shape[1])
    num_frames = geometry.num_encoder_frames(batch.num_samples.numpy()).tolist()
    time_mask = np.zeros((rows, padded_frames), np.bool_)
    feature_mask = np.zeros((rows, config.hidden_size), np.bool_)
    for row, utterance in enumerate(batch.utterances):
        # transformers' own arithmetic draws from numpy's global generator: a row at a time, with a seed of its own.
        np.random.seed(int(hash_keys(1, seed, step, int(utterance), _MASK_SALT)[0]) % 2**32)
        length = num_frames[row]
        if length >= config.mask_time_length:
            time_mask[row, :length] = _draw_time_mask(length, regulariser.mask_time_prob, config)
        if regulariser.mask_feature_prob:
            feature_mask[row] = _draw_feature_mask(regulariser.mask_feature_prob, config)
    regulariser.time_mask = _sent(time_mask, model) if regulariser.mask_time_prob else None
    regulariser.feature_mask = _sent(feature_mask, model) if regulariser.mask_feature_prob else None


def _sent(mask: NDArray[np.bool_], model: CtcModel) -> Tensor:
    """Returns a mask on the model's device, for which the host does not wait until that has done all before."""
    return torch.from_numpy(mask).to(model.device, non_blocking=True)


def _draw_time_mask(frames: int, probability: float, config: PreTrainedConfig) -> NDArray[np.bool_]:
    """Returns (F,) which frames are masked, from numpy's global generator."""
    [mask] = _compute_mask_indices(
        (1, frames), probability, config.mask_time_length, min_masks=config.mask_time_min_masks
    )
    return np.asarray(mask, np.bool_)


def _draw_feature_mask(probability: float, config: PreTrainedConfig) -> NDArray[np.bool_]:
    """Returns (H,) which features are masked, from numpy's global generator."""
    run = min(FEATURE_RUN, config.hidden_size * FEATURE_RUN // FEATURE_RUN_OF)
    min_masks = getattr(config, "mask_feature_min_masks", 0)  # WavLM's configuration has none
    [mask] = _compute_mask_indices((1, config.hidden_size), probability, run, min_masks=min_masks)
    return np.asarray(mask, np.bool_)
