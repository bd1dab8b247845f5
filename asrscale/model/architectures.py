"""Small architectures that start from random weights."""

from typing import Any

# The names of every dropout probability in transformers' Wav2Vec2Config.
DROPOUT_SETTINGS = ("hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout", "final_dropout")

# Learns a small-vocabulary corpus on a laptop's CPU in minutes: its stem of two wide convolutions (30 ms frames) is
# what makes it fast, and layer normalisation makes its output independent of padding.
TINY: dict[str, Any] = {
    "hidden_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 384,
    "conv_dim": [128, 96],
    "conv_kernel": [400, 3],
    "conv_stride": [160, 3],
    "num_feat_extract_layers": 2,
    "feat_extract_norm": "layer",
    "conv_bias": True,
    "do_stable_layer_norm": True,
    "num_conv_pos_embeddings": 31,
    "num_conv_pos_embedding_groups": 8,
    **dict.fromkeys(DROPOUT_SETTINGS, 0.0),
}

# The settings of Wav2Vec2Config for each architecture, by the name that --model takes.
ARCHITECTURES: dict[str, dict[str, Any]] = {"tiny": TINY}
