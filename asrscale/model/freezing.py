"""Which weights are frozen, and which activations are recomputed."""

from transformers import Wav2Vec2ForCTC


def freeze_feature_encoder(model: Wav2Vec2ForCTC) -> None:
    """Keeps the convolutional stem as it is: without gradients, in slices."""
    model.freeze_feature_encoder()
    # Ranks cut their passes into different numbers of slices: ZeRO-3 must gather the stem's weights once, not for each.
    model.wav2vec2.feature_extractor._z3_leaf = True  # what deepspeed.utils.set_z3_leaf_module sets


def checkpoint_activations(model: Wav2Vec2ForCTC, every: int = 1) -> None:
    """Recomputes every so many-th layer in the backward pass instead of storing its activations; 0 none."""
    if every:
        model.activation_checkpointing_enable({"use_reentrant": False}, every_n_layers=every)
