"""Loads fine-tuned models, and whatever else transformers loads from a checkpoint."""

from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, PreTrainedConfig

from asrscale.common.checkpoint_files import may_be_hub_id
from asrscale.common.errors import CliError
from asrscale.data.batches import MIN_BATCH_SAMPLES
from asrscale.model.architectures import ARCHITECTURES
from asrscale.model.families import FAMILIES, CtcModel, model_class
from asrscale.model.freezing import freeze_feature_encoder
from asrscale.model.padding import make_padding_invariant
from asrscale.model.processors import checkpoint_processor
from asrscale.model.quiet import quiet_huggingface
from asrscale.model.reasons import short_reason
from asrscale.model.recognizer import Recognizer
from asrscale.speech.frames import geometry_of
from asrscale.speech.pcm import SAMPLE_RATE_HZ


def load_recognizer(folder: str) -> Recognizer:
    """Loads a fine-tuned model, a folder or a Hugging Face id, with the vocabulary it was trained with.

    Raises:
        CliError: It cannot be found, has no vocabulary, or has a weight that is not finite.
    """
    config = load_config(folder)
    own = checkpoint_processor(folder, config)
    if own is None:
        raise CliError(f"{folder} has no vocabulary (vocab.json), so it cannot transcribe: fine-tune it first")
    processor, vocabulary = own
    model = make_padding_invariant(load_model(folder, config)).eval()
    check_finite(model, folder)
    freeze_feature_encoder(model)  # a frozen stem computes in slices, which takes less memory
    return Recognizer(model, processor, vocabulary)


def check_finite(model: CtcModel, name: str) -> None:
    """Raises CliError where a weight of the model that is called `name` holds NaN or infinity; names the first."""
    for weight_name, weight in model.named_parameters():
        if not torch.isfinite(weight).all():
            raise CliError(
                f"--model {name}: its weight {weight_name} holds NaN or infinity: choose another checkpoint, such as "
                "an earlier one of the same training"
            )


@quiet_huggingface()
def load_config(name: str) -> PreTrainedConfig:
    """Returns the configuration of a checkpoint: a Hugging Face id, a folder, or the path of a config.json.

    Raises:
        CliError: Nothing has that name, it cannot be loaded, or it is a model of no known family or one that makes no
            frame of the shortest pass.
    """
    if not Path(name).exists() and not may_be_hub_id(name):
        architectures = ", ".join(ARCHITECTURES)
        raise CliError(
            f"--model {name}: no such folder, and neither an id such as facebook/wav2vec2-base-960h nor one of the "
            f"architectures {architectures}"
        )
    try:
        settings, _ = PreTrainedConfig.get_config_dict(name)
        # The first checkpoints of wav2vec2 do not say what they are.
        model_type = settings.setdefault("model_type", "wav2vec2")
        if model_type not in FAMILIES:
            raise CliError(f"--model {name} is a {model_type} model: choose one of {', '.join(FAMILIES)}")
        config: PreTrainedConfig = CONFIG_MAPPING[model_type].from_dict(settings)
    except (OSError, ValueError) as error:
        raise CliError(f"--model {name} cannot be loaded: {short_reason(error)}") from error
    _check_makes_frames(name, config)
    return config


def _check_makes_frames(name: str, config: PreTrainedConfig) -> None:
    """Raises CliError where the strides or kernels of a model leave no frame of the shortest pass."""
    if geometry_of(config.to_dict()).num_frames(MIN_BATCH_SAMPLES) < 1:
        seconds = MIN_BATCH_SAMPLES / SAMPLE_RATE_HZ
        raise CliError(f"--model {name} makes no frame of {seconds:g} s of audio: its strides or kernels are too large")


@quiet_huggingface()
def load_model(name: str, config: PreTrainedConfig, **settings: Any) -> CtcModel:
    """Returns the model of a checkpoint.

    Args:
        name: As for `load_config`.
        config: The checkpoint's own, or one that differs from it in what a training run sets.
        settings: Of `from_pretrained`.

    Raises:
        CliError: It cannot be loaded.
    """
    try:
        model: CtcModel = model_class(config).from_pretrained(name, config=config, **settings)
    except (OSError, ValueError) as error:
        raise CliError(f"--model {name} cannot be loaded: {short_reason(error)}") from error
    return model
