"""What a process does once that training runs are forked off: it imports what they import, and fills caches."""

import tempfile
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

import asrscale.train
import asrscale.training.run  # noqa: F401
from helpers.models import FEW_WEIGHTS


def write_picture(figure: Figure, path: Path, **options: Any) -> None:
    """Takes the place of `savefig`, which takes longer than all else that a run of a small model does."""
    path.write_text("a picture\n")


Figure.savefig = write_picture

with tempfile.TemporaryDirectory() as folder:
    Wav2Vec2ForCTC(Wav2Vec2Config(**FEW_WEIGHTS)).wav2vec2.save_pretrained(folder)
    Wav2Vec2ForCTC.from_pretrained(folder)
