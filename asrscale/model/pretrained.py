"""Loads fine-tuned models, and whatever else transformers loads from a checkpoint."""

from pathlib import Path
from typing import Any

import torch
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from asrscale.common.checkpoint_files import may_be_hub_id
from asrscale.common.errors import CliError
from asrscale.model.architectures import ARCHITECTURES
from asrscale.model.freezing import freeze_feature_encoder
from asrscale.model.padding import make_padding_invariant
from asrscale.model.processors import checkpoint_processor
from asrscale.model.quiet import quiet_huggingface
from asrscale.model.reasons import short_reason
from asrscale.model.recognizer import Recognizer


def load_recognizer(folder: str) -> Recognizer:
    """Loads a fine-tuned model, a folder or a Hugging Face id, with the vocabulary it was trained with.

    Raises:
        CliError: It cannot be found, has no vocabulary, or has a weight that is not finite.
    """
    config = load_pretrained(Wav2Vec2Config, folder)
    own = checkpoint_processor(folder, config)
    if own is None:
        raise CliError(f"{folder} has no vocabulary (vocab.json), so it cannot transcribe: fine-tune it first")
    processor, vocabulary = own
    model = make_padding_invariant(load_pretrained(Wav2Vec2ForCTC, folder)).eval()
    check_finite(model, folder)
    freeze_feature_encoder(model)  # a frozen stem computes in slices, which takes less memory
    return Recognizer(model, processor, vocabulary)


def check_finite(model: Wav2Vec2ForCTC, name: str) -> None:
    """Raises CliError where a weight of the model that is called `name` holds NaN or infinity; names the first."""
    for weight_name, weight in model.named_parameters():
        if not torch.isfinite(weight).all():
            raise CliError(
                f"--model {name}: its weight {weight_name} holds NaN or infinity: choose another checkpoint, such as "
                "an earlier one of the same training"
            )


@quiet_huggingface()
def load_pretrained(kind: type[Any], name: str, **settings: Any) -> Any:
    """Returns `kind.from_pretrained(name, **settings)`, a configuration or a model.

    Raises:
        CliError: Nothing has that name, it cannot be loaded, or it is no wav2vec2.
    """
    if not Path(name).exists() and not may_be_hub_id(name):
        architectures = ", ".join(ARCHITECTURES)
        raise CliError(
            f"--model {name}: no such folder, and neither an id such as facebook/wav2vec2-base-960h nor one of the "
            f"architectures {architectures}"
        )
    try:
        loaded = kind.from_pretrained(name, **settings)
    except (OSError, ValueError) as error:
        raise CliError(f"--model {name} cannot be loaded: {short_reason(error)}") from error
    model_type = getattr(loaded, "model_type", "wav2vec2")  # only a configuration has it
    if model_type != "wav2vec2":
        raise CliError(f"--model {name} is a {model_type} model, not wav2vec2")
    return loaded
