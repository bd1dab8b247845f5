"""The recognizer: a model with the processor and vocabulary that feed and read it."""

import os
from dataclasses import dataclass
from typing import Any

import transformers
from transformers import Wav2Vec2ForCTC

from asrscale.speech.frames import ConvStem
from asrscale.speech.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class Recognizer:
    """A model with all that is needed to feed it and to read it."""

    model: Wav2Vec2ForCTC
    processor: transformers.Wav2Vec2Processor
    vocabulary: Vocabulary

    @property
    def stem(self) -> ConvStem:
        """The geometry of the model's convolutions."""
        config = self.model.config
        return ConvStem(tuple(config.conv_kernel), tuple(config.conv_stride))

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes a stock Hugging Face model folder with safetensors weights."""
        self.model.save_pretrained(folder)
        self.processor.save_pretrained(folder)


def describe(recognizer: Recognizer) -> dict[str, Any]:
    """What is worth recording about a model: revision, attention, sizes, vocabulary."""
    model = recognizer.model
    return {
        "name_or_path": model.config._name_or_path or None,
        "revision": getattr(model.config, "_commit_hash", None),
        "attention": model.config._attn_implementation,
        "parameters": sum(p.numel() for p in model.parameters()),
        "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "vocabulary": list(recognizer.vocabulary.tokens),
    }
