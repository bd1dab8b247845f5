"""Which weights are frozen, and which activations are recomputed."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from asrscale.model.families import CtcModel, stem_of


def freeze_feature_encoder(model: CtcModel) -> None:
    """Freezes the convolutional stem, which then computes without gradients and in slices.

    A model without a stem, whose frames are log-mel features, has nothing to freeze.
    """
    stem = stem_of(model)
    if stem is None:
        return
    model.freeze_feature_encoder()
    # Ranks cut their passes into different numbers of slices: ZeRO-3 must gather the stem's weights once, not for each.
    # This attribute is what deepspeed.utils.set_z3_leaf_module sets.
    stem._z3_leaf = True


def checkpoint_activations(model: CtcModel, every: int = 1) -> None:
    """Recomputes the activations of every `every`-th layer in the backward pass instead of storing them; 0: of none."""
    if every:
        model.activation_checkpointing_enable({"use_reentrant": False}, every_n_layers=every)


@contextmanager
def held_below_head(model: CtcModel) -> Iterator[None]:
    """Inside, a pass computes no gradient below the head, and stores nothing for one; all else of it stays the same."""
    base = model.base_model
    base.forward = torch.no_grad()(base.forward)
    try:
        yield
    finally:
        del base.forward  # that of its class is seen again
