"""Small models and sounds that the tests of models share."""

import numpy as np
import torch

from asrscale.model.building import build_recognizer
from asrscale.model.recognizer import Recognizer

# The sizes of a model as transformers makes it, but small.
SMALL = dict(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, conv_dim=[16] * 7,
    num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, vocab_size=30, pad_token_id=29,
)  # fmt: skip
# What differs between the public checkpoints.
FAMILIES = {
    "group": dict(feat_extract_norm="group", do_stable_layer_norm=False),  # base, base-960h, large-960h
    "layer": dict(feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True),  # lv60, XLSR, XLS-R
}

# A model of about a thousand weights: two convolutions and one layer.
FEW_WEIGHTS = dict(
    conv_dim=[4, 4],
    conv_kernel=[10, 8],
    conv_stride=[20, 16],
    num_feat_extract_layers=2,
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=1,
    intermediate_size=8,
    num_conv_pos_embeddings=2,
    num_conv_pos_embedding_groups=1,
    hidden_dropout=0.0,
    attention_dropout=0.0,
    activation_dropout=0.0,
    feat_proj_dropout=0.0,
    final_dropout=0.0,
)


def untrained_recognizer() -> Recognizer:
    """`tiny` with random weights, the same at each call, ready to transcribe."""
    recognizer = build_recognizer("tiny", "abc", seed=3)
    recognizer.model.eval()
    return recognizer


def noise(*lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    """int16 (B, T) padded with zeros, and (B,) lengths."""
    rng = np.random.default_rng(0)
    waveforms = torch.zeros(len(lengths), max(lengths), dtype=torch.int16)
    for row, length in enumerate(lengths):
        waveforms[row, :length] = torch.from_numpy(rng.integers(-3000, 3000, length, dtype=np.int16))
    return waveforms, torch.tensor(lengths)
