"""A model that has some words wrong."""

from pathlib import Path

import torch

from asrscale.model.pretrained import load_recognizer
from asrscale.model.recognizer import Recognizer


def disturb(recognizer: Recognizer, folder: Path, amount: float = 0.75) -> Recognizer:
    """Writes a model with disturbed weights into a folder, and returns it."""
    recognizer.save(folder)
    disturbed = load_recognizer(str(folder))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in disturbed.model.parameters():
            weights += amount * weights.abs().mean() * torch.randn(weights.shape, generator=generator)
    disturbed.save(folder)
    return disturbed
