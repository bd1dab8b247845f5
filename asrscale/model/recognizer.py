"""A recognizer: a model with the processor and the vocabulary that belong to it."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

from asrscale.common.atomic_files import use_default_mode, write_json
from asrscale.model.families import CtcModel, geometry_of_model
from asrscale.model.language_adapters import Languages, write_adapters
from asrscale.model.model_folders import BASE_MODEL
from asrscale.model.processors import Processor
from asrscale.model.quiet import quiet_huggingface
from asrscale.speech.frames import FrameGeometry
from asrscale.speech.normalisation import TextRules, rules_from_json
from asrscale.speech.vocabulary import Vocabulary

_TEXT_RULES = "transcripts"  # an entry of config.json, which transformers keeps


@dataclass(frozen=True, eq=False)
class Recognizer:
    """A model with all that is needed to compute with it and to read its output.

    Attributes:
        model: The model.
        processor: transformers' own, for its export.
        vocabulary: The tokens of its head.
        languages: Which language a model of many is set to; None for one that names no languages.
        notes: What was taken in place of what was asked for, or drawn at random: a line each, for people.
        transcribes: Whether every row of its head was trained for its token, before the run that it starts, if any.
        temperature: What logits are divided by for confidences of best paths, as found on validation data; 1 where it
            was not looked for.
        search_temperature: That of a search without a language model, as `temperature`.
    """

    model: CtcModel
    processor: Processor
    vocabulary: Vocabulary
    languages: Languages | None = None
    notes: tuple[str, ...] = ()
    transcribes: bool = False
    temperature: float = 1.0
    search_temperature: float = 1.0

    @property
    def geometry(self) -> FrameGeometry:
        """How many frames the model makes of samples."""
        return geometry_of_model(self.model)

    @property
    def text_rules(self) -> TextRules | None:
        """How the transcripts that it was trained on were normalised; None where its configuration does not say."""
        return rules_in_config(self.model.config)

    def record_text_rules(self, rules: TextRules) -> None:
        """Has the model's configuration say how the transcripts that it is trained on are normalised."""
        setattr(self.model.config, _TEXT_RULES, rules.to_json())

    @quiet_huggingface()
    def save_settings(self, folder: str | os.PathLike[str]) -> None:
        """Writes what a model folder has beside its weights; makes the folder.

        The settings of the feature extractor are in a file of its own, preprocessor_config.json, as transformers 4
        expects; version 5, which puts them into processor_config.json, reads them there, too.
        """
        self.model.config.save_pretrained(folder)
        self.processor.save_pretrained(folder)
        self.processor.feature_extractor.save_pretrained(folder)
        write_json(Path(folder, "processor_config.json"), {"processor_class": type(self.processor).__name__})

    @quiet_huggingface()
    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes a stock Hugging Face model folder with safetensors weights."""
        self.save_settings(folder)
        self.model.save_pretrained(folder)
        use_default_mode(*Path(folder).glob("*.safetensors"))  # several files of a large one
        if self.languages:
            write_adapters(self.model, self.languages, Path(folder))

    def save_adapter(self, folder: str | os.PathLike[str]) -> None:
        """Writes a folder with what is the language's own, and a reference to the model that has the other weights."""
        assert self.languages is not None, "only a model of many languages has adapters"
        setattr(self.model.config, BASE_MODEL, self.languages.base)
        self.save_settings(folder)
        write_adapters(self.model, self.languages, Path(folder))


def rules_in_config(config: PreTrainedConfig) -> TextRules | None:
    """Returns how the transcripts of a model's training were normalised; None where its configuration does not say."""
    recorded = getattr(config, _TEXT_RULES, None)
    return rules_from_json(recorded) if recorded else None


def print_notes(recognizer: Recognizer) -> None:
    """Prints what a person should know of how a model was found, on stderr."""
    for note in recognizer.notes:
        print(note, file=sys.stderr, flush=True)


def describe(recognizer: Recognizer) -> dict[str, Any]:
    """Returns what is worth recording about a model: revision, attention, sizes, vocabulary."""
    model = recognizer.model
    parameters = list(model.parameters())
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    return {
        "name_or_path": model.config._name_or_path or None,
        "language": recognizer.languages.code if recognizer.languages else None,
        "revision": getattr(model.config, "_commit_hash", None),
        "attention": model.config._attn_implementation,
        "parameters": sum(parameter.numel() for parameter in parameters),
        "trainable_parameters": sum(parameter.numel() for parameter in trainable),
        "vocabulary": list(recognizer.vocabulary.tokens),
    }
