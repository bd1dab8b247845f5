"""Models and batches of the check, made without network."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from helpers.checkpoints import LETTERS, write_letters
from helpers.lengths import common_voice_lengths
from numpy.typing import NDArray

from asrscale.data.batches import Batch
from asrscale.model.architectures import TINY
from asrscale.model.building import build_recognizer
from asrscale.model.freezing import checkpoint_activations, freeze_feature_encoder
from asrscale.model.recognizer import Recognizer
from gpu.machine import DEVICE, ON_CPU

_STEM = dict(conv_dim=[512] * 7, num_conv_pos_embeddings=128, num_conv_pos_embedding_groups=16)
_BASE = _STEM | dict(hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072)
_LARGE = _STEM | dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)

# By the names of the page; on a CPU all are small.
SIZES: dict[str, dict[str, Any]] = {
    "tiny": TINY,
    "base": dict(hidden_size=48) if ON_CPU else _BASE,
    "large": dict(hidden_size=64, num_hidden_layers=3) if ON_CPU else _LARGE,
}

NUM_UTTERANCES = 24 if ON_CPU else 1_000
LETTERS_PER_SECOND = 12.0


def write_model(folder: Path, size: str) -> Path:
    """Writes a model folder of random weights, as a pretrained one comes from the hub; its path."""
    path = folder / size
    if not path.exists():
        write_letters(path, **SIZES[size])
    return path


def make_model(folder: Path, size: str, *, every: int = 0, attention: str = "auto") -> Recognizer:
    """A model in training mode with a frozen stem, always of the same weights; `every` is of its checkpointing."""
    recognizer = build_recognizer(str(write_model(folder, size)), "", seed=0, dropout=0.0, attention=attention)
    freeze_feature_encoder(recognizer.model)
    checkpoint_activations(recognizer.model, every)
    recognizer.model.train()
    return recognizer


@cache
def lengths() -> NDArray[np.int64]:
    """(N,) samples of utterances, as long as those of Common Voice, the shortest first."""
    return np.sort(common_voice_lengths(NUM_UTTERANCES))


def batch_of(num_samples: NDArray[np.int64], seed: int = 0) -> Batch:
    """A pass of noise of these lengths, with random labels, on the device."""
    rng = np.random.default_rng(seed)
    waveforms = rng.integers(-3_000, 3_000, (len(num_samples), int(num_samples.max())), dtype=np.int16)
    waveforms[np.arange(waveforms.shape[1]) >= num_samples[:, None]] = 0
    num_labels = (num_samples / 16_000 * LETTERS_PER_SECOND).astype(np.int64)
    labels = rng.integers(0, len(LETTERS) - 4, (len(num_samples), int(num_labels.max())))
    return Batch(
        utterances=np.arange(len(num_samples)),
        waveforms=torch.from_numpy(waveforms),
        num_samples=torch.from_numpy(num_samples),
        labels=torch.from_numpy(labels),
        num_labels=torch.from_numpy(num_labels),
    ).to(DEVICE)


def passes(cap_seconds: float) -> Iterator[NDArray[np.int64]]:
    """Yields the lengths of passes of neighbouring utterances, each of at most so much padded audio."""
    first = 0
    for end in range(1, NUM_UTTERANCES + 1):
        is_last = end == NUM_UTTERANCES
        if is_last or (end + 1 - first) * lengths()[end] > cap_seconds * 16_000:
            yield lengths()[first:end]
            first = end
