"""Loads fine-tuned models."""

import torch

from asrscale.common.errors import CliError
from asrscale.model.checkpoints import Checkpoint, find_language, open_checkpoint, set_language
from asrscale.model.families import CtcModel
from asrscale.model.freezing import freeze_feature_encoder
from asrscale.model.language_adapters import Languages
from asrscale.model.padding import make_padding_invariant
from asrscale.model.processors import check_fits_head, load_processor, read_own_vocabulary
from asrscale.model.recognizer import Recognizer
from asrscale.model.temperature import read_temperatures
from asrscale.model.weights import load_weights


def load_recognizer(name: str, language: str = "") -> Recognizer:
    """Loads a fine-tuned model with the vocabulary it was trained with.

    Args:
        name: A model folder, a run or one of its checkpoints, or a Hugging Face id.
        language: Which of the languages of a checkpoint for many, such as MMS; "" where it has one only.

    Raises:
        CliError: It cannot be found, has no vocabulary or no such language, or has a weight that is not finite.
    """
    checkpoint = open_checkpoint(name)
    code = find_language(checkpoint, language)
    vocabulary = read_own_vocabulary(checkpoint, code)
    if vocabulary is None:
        raise CliError(_no_vocabulary(checkpoint))
    languages = Languages(code) if code else None
    processor = load_processor(checkpoint, vocabulary, languages)

    loaded = load_weights(name, checkpoint.source, checkpoint.config)
    if code and not set_language(checkpoint, loaded, code):
        raise CliError(f"--model {name} has a vocabulary for {code}, and no adapter: add its file to the folder")
    if loaded.head_rows is None:
        raise CliError(f"--model {name} has a vocabulary and no head, so it cannot transcribe: fine-tune it first")
    check_fits_head(checkpoint, vocabulary, loaded)
    model = make_padding_invariant(loaded.model).eval()
    check_finite(model, name)
    freeze_feature_encoder(model)  # a frozen stem computes in slices, which takes less memory
    temperatures = read_temperatures(checkpoint.source.settings)
    return Recognizer(
        model,
        processor,
        vocabulary,
        languages,
        checkpoint.source.notes,
        transcribes=True,
        temperature=temperatures.best_paths,
        search_temperature=temperatures.search,
    )


def _no_vocabulary(checkpoint: Checkpoint) -> str:
    """Returns why a model without a vocabulary cannot transcribe, and the cure."""
    return (
        f"--model {checkpoint.name} has no vocabulary (vocab.json), so it cannot transcribe: if it was fine-tuned, "
        "copy the vocab.json and tokenizer_config.json of its training into the folder, else fine-tune it first"
    )


def check_finite(model: CtcModel, name: str) -> None:
    """Raises CliError where a weight of the model that is called `name` holds NaN or infinity; names the first."""
    for weight_name, weight in model.state_dict().items():  # the statistics of batch norms, too
        if not torch.isfinite(weight).all():
            raise CliError(
                f"--model {name}: its weight {weight_name} holds NaN or infinity: choose another checkpoint, such as "
                "an earlier one of the same training"
            )
