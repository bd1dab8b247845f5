"""What a checkpoint is, before its weights are loaded: where its parts are, its configuration, its languages."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from transformers import CONFIG_MAPPING, PreTrainedConfig

from asrscale.common.checkpoint_files import (
    checkpoint_json,
    hub_commit,
    may_be_hub_id,
    split_revision,
)
from asrscale.common.errors import CliError
from asrscale.data.batches import MIN_BATCH_SAMPLES
from asrscale.model.architectures import ARCHITECTURES
from asrscale.model.families import FAMILIES
from asrscale.model.language_adapters import find_adapter, has_adapters, load_adapter
from asrscale.model.model_folders import CONFIG_FILE, ModelSource, find_model
from asrscale.model.quiet import quiet_huggingface
from asrscale.model.reasons import one_line_errors
from asrscale.model.weights import LoadedModel
from asrscale.speech.frames import geometry_of
from asrscale.speech.languages import check_language, long_code
from asrscale.speech.pcm import SAMPLE_RATE_HZ
from asrscale.speech.vocabulary_files import checkpoint_languages, choose_language, no_such_language

# Of a config.json, those that name code to compute with, such as a kernel that would be fetched from the hub.
_SETTINGS_OF_CODE = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal", "auto_map")

_MAX_LAYERS = 1_000  # the largest models of these families have 48; modules for a billion would never be made


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A checkpoint whose weights have not been loaded.

    Attributes:
        name: What `--model` names.
        source: Where its parts are.
        config: Its configuration.
        languages: The tokens of each of its languages and their ids, by code; {} where it names no languages.
    """

    name: str
    source: ModelSource
    config: PreTrainedConfig
    languages: Mapping[str, Mapping[str, int]]


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
            f"--model {name}: no such folder; give a folder, a Hugging Face id such as "
            f"facebook/wav2vec2-base-960h, or an architecture ({architectures})"
        )
    with one_line_errors(f"--model {name}", name):
        id, revision = split_revision(name)
        settings, _ = PreTrainedConfig.get_config_dict(id, revision=revision)
        # The first checkpoints of wav2vec2 do not say what they are.
        model_type = settings.setdefault("model_type", "wav2vec2")
        if model_type not in FAMILIES:
            raise CliError(f"--model {name} is a {model_type} model: choose one of {', '.join(FAMILIES)}")
        harmless = {setting: value for setting, value in settings.items() if setting not in _SETTINGS_OF_CODE}
        config: PreTrainedConfig = CONFIG_MAPPING[model_type].from_dict(harmless)
        config._commit_hash = hub_commit(name)
        _check_sizes(name, config)
    return config


def _check_sizes(name: str, config: PreTrainedConfig) -> None:
    """Raises CliError where a model has absurdly many layers, or makes no frame of the shortest pass.

    Raises:
        TypeError, ValueError: A size is no such number.
    """
    layers = config.num_hidden_layers
    if layers > _MAX_LAYERS:
        raise CliError(f"--model {name}: its {CONFIG_FILE} says num_hidden_layers {layers:,}, which no model has")
    if geometry_of(config.to_dict()).num_frames(MIN_BATCH_SAMPLES) < 1:
        seconds = MIN_BATCH_SAMPLES / SAMPLE_RATE_HZ
        raise CliError(f"--model {name} makes no frame of {seconds:g} s of audio: its strides or kernels are too large")


@quiet_huggingface()
def open_checkpoint(name: str) -> Checkpoint:
    """Finds a checkpoint and reads what describes it.

    Raises:
        CliError: It cannot be found, is of no known family, or one of its files cannot be read.
    """
    source = find_model(name)
    config = load_config(source.settings)
    with one_line_errors(f"--model {name}: its vocab.json", source.vocabulary):
        languages = checkpoint_languages(source.vocabulary)
    return Checkpoint(name, source, config, languages)


def find_language(checkpoint: Checkpoint, language: str, *, may_be_new: bool = False) -> str | None:
    """Returns the code of a language in a checkpoint; None where the checkpoint names no languages.

    Args:
        checkpoint: The checkpoint.
        language: By any code; "" where none was asked for.
        may_be_new: Whether a language that the checkpoint lacks is fine; its code is that of ISO 639-3.

    Raises:
        CliError: It is not said which of several languages, or there is no such language.
    """
    name = checkpoint.name
    if not checkpoint.languages:
        if language:
            raise CliError(f"--model {name} names no languages in its vocab.json: leave out --language")
        return None
    try:
        code = choose_language(checkpoint.languages, language)
    except CliError as error:
        raise CliError(f"--model {name}: {error}") from error
    if code is None and not may_be_new:
        raise CliError(f"--model {name}: {no_such_language(checkpoint.languages, language)}")
    return code or long_code(check_language(language, "--language"))


def check_has_adapters(checkpoint: Checkpoint) -> None:
    """Raises CliError where a model has no layers for languages, which `--train_adapter` trains."""
    if not has_adapters(checkpoint.config):
        raise CliError(
            f"--train_adapter: --model {checkpoint.name} has no adapters for languages, as facebook/mms-1b-all has: "
            "leave it out, or give --lora_rank 16 to train less"
        )


def set_language(checkpoint: Checkpoint, loaded: LoadedModel, code: str) -> bool:
    """Gives a model the adapter and the head of one of its checkpoint's languages; whether there are such.

    Raises:
        CliError: The adapter cannot be read, or is of another model.
    """
    with one_line_errors(f"--model {checkpoint.name}: its adapter for {code}", checkpoint.source.vocabulary):
        path = find_adapter(checkpoint.source.vocabulary, code)
    if path is not None:
        load_adapter(loaded.model, path)
        return True
    # Without a file of its own, a language may be the one that the file of weights was saved with.
    with one_line_errors(f"--model {checkpoint.name}: its tokenizer_config.json", checkpoint.source.vocabulary):
        tokenizer = checkpoint_json(checkpoint.source.vocabulary, "tokenizer_config.json")
    only_one = next(iter(checkpoint.languages)) if len(checkpoint.languages) == 1 else None
    return code == tokenizer.get("target_lang", only_one)
