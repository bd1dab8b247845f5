"""A recognizer: a model with the processor and the vocabulary that belong to it."""

import os
from dataclasses import dataclass
from typing import Any

from asrscale.model.families import CtcModel
from asrscale.model.processors import Processor
from asrscale.model.quiet import quiet_huggingface
from asrscale.speech.frames import FrameGeometry, geometry_of
from asrscale.speech.normalisation import TextRules, rules_from_json
from asrscale.speech.vocabulary import Vocabulary

_TEXT_RULES = "transcripts"  # an entry of config.json, which transformers keeps


@dataclass(frozen=True, eq=False)
class Recognizer:
    """A model with all that is needed to compute with it and to read its output."""

    model: CtcModel
    processor: Processor
    vocabulary: Vocabulary

    @property
    def geometry(self) -> FrameGeometry:
        """How many frames the model makes of samples."""
        return geometry_of(self.model.config.to_dict())

    @property
    def text_rules(self) -> TextRules | None:
        """How the transcripts that it was trained on were normalised; None where its configuration does not say."""
        recorded = getattr(self.model.config, _TEXT_RULES, None)
        return rules_from_json(recorded) if recorded else None

    def record_text_rules(self, rules: TextRules) -> None:
        """Has the model's configuration say how the transcripts that it is trained on are normalised."""
        setattr(self.model.config, _TEXT_RULES, rules.to_json())

    @quiet_huggingface()
    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes a stock Hugging Face model folder with safetensors weights."""
        self.model.save_pretrained(folder)
        self.processor.save_pretrained(folder)


def describe(recognizer: Recognizer) -> dict[str, Any]:
    """Returns what is worth recording about a model: revision, attention, sizes, vocabulary."""
    model = recognizer.model
    parameters = list(model.parameters())
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    return {
        "name_or_path": model.config._name_or_path or None,
        "revision": getattr(model.config, "_commit_hash", None),
        "attention": model.config._attn_implementation,
        "parameters": sum(parameter.numel() for parameter in parameters),
        "trainable_parameters": sum(parameter.numel() for parameter in trainable),
        "vocabulary": list(recognizer.vocabulary.tokens),
    }
