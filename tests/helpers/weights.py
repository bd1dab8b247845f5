"""Weights, averaged by another library."""

import numpy as np
import torch
from torch import Tensor


def mean_of(weights: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of several models, weight by weight, by NumPy."""
    means = {name: np.mean([one[name].numpy() for one in weights], axis=0, dtype=np.float64) for name in weights[0]}
    return {name: torch.from_numpy(mean.astype(np.float32)) for name, mean in means.items()}
