"""Builds the model that a run trains."""

from collections.abc import Iterable

import torch
from transformers import CONFIG_MAPPING, PreTrainedConfig

from asrscale.common.errors import CliError
from asrscale.model.architectures import ARCHITECTURES
from asrscale.model.checkpoints import check_has_adapters, find_language, open_checkpoint
from asrscale.model.configuring import TrainingSettings, configure, set_vocabulary
from asrscale.model.families import model_class
from asrscale.model.language_adapters import train_adapter_only
from asrscale.model.padding import make_padding_invariant
from asrscale.model.pretrained import check_finite
from asrscale.model.processors import new_processor, read_own_vocabulary
from asrscale.model.quiet import quiet_huggingface
from asrscale.model.recognizer import Recognizer
from asrscale.model.starting_points import Start, start_from
from asrscale.speech.vocabulary import Vocabulary, build_vocabulary
from asrscale.speech.vocabulary_files import read_vocabulary


@quiet_huggingface()
def build_recognizer(
    name: str,
    characters: Iterable[str],
    *,
    seed: int = 0,
    vocab: str | None = None,
    spaced: bool = False,
    language: str = "",
    train_adapter: bool = False,
    new_head: bool = False,
    attention: str = "auto",
    mask_time_prob: float = 0.0,
    mask_feature_prob: float = 0.0,
    dropout: float | None = None,
) -> Recognizer:
    """Makes the model that a run trains.

    Args:
        name: A name of `ARCHITECTURES`, a Hugging Face id, a model folder, a run or one of its checkpoints.
        characters: The characters of the training transcripts, for a model without a vocabulary of its own.
        seed: Seeds the weights that are drawn at random; torch's global generator is seeded with it.
        vocab: `shards` builds a vocabulary from `characters`, else the path of a vocab.json, a model folder or a hub's
            id; a trained head keeps its rows of the characters that are in both. None keeps the checkpoint's own.
        spaced: Whether `characters` are labels such as phones, between spaces in the transcripts.
        language: Which language of a checkpoint of many; "" where it names none, or one only.
        train_adapter: Whether only the adapter and the head of the language are trained.
        new_head: Whether the head is drawn at random, whatever the checkpoint has.
        attention: The implementation; see `asrscale.model.attention`.
        mask_time_prob: Above 0, SpecAugment over time is wanted, so that the model needs its mask vector; the masks
            themselves are drawn in `asrscale.model.regularisation`.
        mask_feature_prob: The same over features.
        dropout: Sets every dropout of the model; None keeps those of the checkpoint.

    Raises:
        CliError: The model cannot be found, its vocabulary is not usable, or a weight that is kept is not finite.
    """
    settings = TrainingSettings(attention, mask_time_prob, mask_feature_prob, dropout)
    own = build_vocabulary(characters, spaced=spaced)
    requested = _requested_vocabulary(vocab, own, language)
    torch.manual_seed(seed)
    if name in ARCHITECTURES:
        _check_has_no_languages(name, language, train_adapter=train_adapter)
        return _build_from_architecture(name, requested or own, settings)
    start = Start(own, requested, language, train_adapter=train_adapter, new_head=new_head, settings=settings)
    recognizer = start_from(name, start)
    check_finite(recognizer.model, name)
    if train_adapter:
        train_adapter_only(recognizer.model)
    return recognizer


def _check_has_no_languages(name: str, language: str, *, train_adapter: bool) -> None:
    """Raises CliError where a language is asked of an architecture."""
    if language or train_adapter:
        raise CliError(f"--model {name} has no languages: leave out --language and --train_adapter")


def _requested_vocabulary(vocab: str | None, of_shards: Vocabulary, language: str) -> Vocabulary | None:
    """Returns the vocabulary that `--vocab` names, or None where it does not ask for one."""
    if vocab is None:
        return None
    if vocab == "shards":
        return of_shards
    return read_vocabulary(vocab, language)


def _build_from_architecture(name: str, vocabulary: Vocabulary, settings: TrainingSettings) -> Recognizer:
    """Returns a model with random weights."""
    config = _architecture_config(name, vocabulary)
    configure(config, settings)
    model = make_padding_invariant(model_class(config)(config))
    return Recognizer(model, new_processor(vocabulary, config), vocabulary)


@quiet_huggingface()
def build_meta_recognizer(
    name: str,
    *,
    dtype: torch.dtype,
    language: str = "",
    train_adapter: bool = False,
    attention: str = "auto",
    dropout: float | None = None,
) -> Recognizer:
    """Returns what `build_recognizer` makes, in training mode but without any weights: on torch's meta device.

    Its vocabulary is a stand-in, the letters of English. It `transcribes` where the checkpoint has a vocabulary.

    Args:
        name: As for `build_recognizer`, or the path of a config.json.
        dtype: Of the weights.
        language: As for `build_recognizer`.
        train_adapter: As for `build_recognizer`.
        attention: As for `build_recognizer`.
        dropout: As for `build_recognizer`.

    Raises:
        CliError: The model cannot be found, or has no such language.
    """
    vocabulary = build_vocabulary("")
    settings = TrainingSettings(attention, mask_time_prob=0.05, mask_feature_prob=0.0, dropout=dropout)
    if name in ARCHITECTURES:
        _check_has_no_languages(name, language, train_adapter=train_adapter)
        config = _architecture_config(name, vocabulary)
        transcribes = False
    else:
        config, transcribes = _checkpoint_config(name, language, train_adapter=train_adapter)
    if config.vocab_size is None:  # of a pretrained model
        set_vocabulary(config, vocabulary)
    configure(config, settings)
    with torch.device("meta"):
        model = make_padding_invariant(model_class(config)(config))
    # transformers makes the mask vector of a raw tensor, which is on the CPU all the same.
    model = model.to(device="meta", dtype=dtype).train()
    if train_adapter:
        train_adapter_only(model)
    return Recognizer(model, new_processor(vocabulary, config), vocabulary, transcribes=transcribes)


def _checkpoint_config(name: str, language: str, *, train_adapter: bool) -> tuple[PreTrainedConfig, bool]:
    """Returns the configuration of a checkpoint, and whether it has a vocabulary (of the language).

    Raises:
        CliError: A run with these flags would be refused.
    """
    checkpoint = open_checkpoint(name)
    code = find_language(checkpoint, language, may_be_new=True)
    if train_adapter:
        check_has_adapters(checkpoint)
    if code and code not in checkpoint.languages:
        return checkpoint.config, False
    return checkpoint.config, read_own_vocabulary(checkpoint, code) is not None


def _architecture_config(name: str, vocabulary: Vocabulary) -> PreTrainedConfig:
    """Returns the configuration of an architecture."""
    config: PreTrainedConfig = CONFIG_MAPPING["wav2vec2"](**ARCHITECTURES[name])
    set_vocabulary(config, vocabulary)
    return config
