"""Builds the model that a run trains."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import CONFIG_MAPPING, PreTrainedConfig

from asrscale.model.architectures import ARCHITECTURES, DROPOUT_SETTINGS
from asrscale.model.attention import attention_implementation
from asrscale.model.families import CtcModel, family_of, head_of, model_class
from asrscale.model.padding import make_padding_invariant
from asrscale.model.pretrained import check_finite, load_config, load_model
from asrscale.model.processors import checkpoint_processor, new_processor
from asrscale.model.quiet import quiet_huggingface
from asrscale.model.recognizer import Recognizer
from asrscale.speech.vocabulary import Vocabulary, build_vocabulary
from asrscale.speech.vocabulary_files import read_vocabulary


@dataclass(frozen=True)
class _TrainingSettings:
    """What a run says about its model; see `build_recognizer`."""

    attention: str
    mask_time_prob: float
    mask_feature_prob: float
    dropout: float | None


@quiet_huggingface()
def build_recognizer(
    name: str,
    characters: Iterable[str],
    *,
    seed: int = 0,
    vocab: str | None = None,
    spaced: bool = False,
    attention: str = "auto",
    mask_time_prob: float = 0.0,
    mask_feature_prob: float = 0.0,
    dropout: float | None = None,
) -> Recognizer:
    """Makes the model that a run trains.

    Args:
        name: A name of `ARCHITECTURES`, a Hugging Face id, or a model folder.
        characters: The characters of the training transcripts, for a model without a vocabulary of its own.
        seed: Seeds the weights that are drawn at random; torch's global generator is seeded with it.
        vocab: `shards` builds a vocabulary from `characters`, else the path of a vocab.json, a model folder or a hub's
            id; a trained head keeps its rows of the characters that are in both. None keeps the checkpoint's own.
        spaced: Whether `characters` are labels such as phones, between spaces in the transcripts.
        attention: The implementation; see `asrscale.model.attention`.
        mask_time_prob: Above 0, SpecAugment over time is wanted, so that the model needs its mask vector; the masks
            themselves are drawn in `asrscale.model.regularisation`.
        mask_feature_prob: The same over features.
        dropout: Sets every dropout of the model; None keeps those of the checkpoint.

    Raises:
        CliError: The model cannot be found, its vocabulary is not usable, or a weight that is kept is not finite.
    """
    settings = _TrainingSettings(attention, mask_time_prob, mask_feature_prob, dropout)
    own = build_vocabulary(characters, spaced=spaced)
    requested = _requested_vocabulary(vocab, own)
    torch.manual_seed(seed)
    if name in ARCHITECTURES:
        return _build_from_architecture(name, requested or own, settings)
    recognizer = _load_checkpoint(name, requested, own, settings)
    check_finite(recognizer.model, name)
    return recognizer


def _requested_vocabulary(vocab: str | None, of_shards: Vocabulary) -> Vocabulary | None:
    """Returns the vocabulary that `--vocab` names, or None where it does not ask for one."""
    if vocab is None:
        return None
    if vocab == "shards":
        return of_shards
    return read_vocabulary(vocab)


def _build_from_architecture(name: str, vocabulary: Vocabulary, settings: _TrainingSettings) -> Recognizer:
    """Returns a model with random weights."""
    config = _architecture_config(name, vocabulary)
    _configure(config, settings)
    model = make_padding_invariant(model_class(config)(config))
    return Recognizer(model, new_processor(vocabulary, config), vocabulary)


def _load_checkpoint(
    name: str, requested: Vocabulary | None, of_shards: Vocabulary, settings: _TrainingSettings
) -> Recognizer:
    """Returns a checkpoint with its own head, or with one for the requested vocabulary or that of the shards."""
    config = load_config(name)
    own = checkpoint_processor(name, config)
    if own is None:
        return _load_with_new_head(name, config, requested or of_shards, settings)
    processor, vocabulary = own
    _configure(config, settings)
    model = make_padding_invariant(_load_model(name, config))
    recognizer = Recognizer(model, processor, vocabulary)
    return move_head(recognizer, requested) if requested else recognizer


def _load_with_new_head(
    name: str, config: PreTrainedConfig, vocabulary: Vocabulary, settings: _TrainingSettings
) -> Recognizer:
    """Returns a checkpoint without a vocabulary, such as a pretrained one, with a head of random weights."""
    _configure(config, settings)
    _set_vocabulary(config, vocabulary)
    model = _load_model(name, config, ignore_mismatched_sizes=True)
    # Rows of a head that was trained on other letters must not be kept because their number fits.
    head_of(model).reset_parameters()
    return Recognizer(make_padding_invariant(model), new_processor(vocabulary, config), vocabulary)


def move_head(recognizer: Recognizer, vocabulary: Vocabulary) -> Recognizer:
    """Returns the same model with a head for another vocabulary.

    Rows of tokens that are in both vocabularies keep their weights, the others are drawn at random. A head is never
    kept because its size fits: a vocabulary of as many other letters would be accepted without an error.
    """
    model = recognizer.model
    old = head_of(model)
    new = nn.Linear(old.in_features, len(vocabulary.tokens))
    twins = vocabulary.twins(recognizer.vocabulary)
    new_rows = list(twins)
    old_rows = list(twins.values())
    with torch.no_grad():
        new.weight[new_rows] = old.weight[old_rows]
        new.bias[new_rows] = old.bias[old_rows]
    model.lm_head = new
    _set_vocabulary(model.config, vocabulary)
    processor = new_processor(vocabulary, model.config)
    processor.feature_extractor = recognizer.processor.feature_extractor
    return Recognizer(model, processor, vocabulary)


@quiet_huggingface()
def build_meta_recognizer(
    name: str, *, dtype: torch.dtype, attention: str = "auto", dropout: float | None = None
) -> Recognizer:
    """Returns what `build_recognizer` makes, in training mode but without any weights: on torch's meta device.

    Its vocabulary is a stand-in, the letters of English.

    Args:
        name: As for `build_recognizer`, or the path of a config.json.
        dtype: Of the weights.
        attention: As for `build_recognizer`.
        dropout: As for `build_recognizer`.

    Raises:
        CliError: The model cannot be found.
    """
    vocabulary = build_vocabulary("")
    settings = _TrainingSettings(attention, mask_time_prob=0.05, mask_feature_prob=0.0, dropout=dropout)
    config = _architecture_config(name, vocabulary) if name in ARCHITECTURES else load_config(name)
    if config.vocab_size is None:  # of a pretrained model
        _set_vocabulary(config, vocabulary)
    _configure(config, settings)
    with torch.device("meta"):
        model = make_padding_invariant(model_class(config)(config))
    # transformers makes the mask vector of a raw tensor, which is on the CPU all the same.
    model = model.to(device="meta", dtype=dtype).train()
    return Recognizer(model, new_processor(vocabulary, config), vocabulary)


def _architecture_config(name: str, vocabulary: Vocabulary) -> PreTrainedConfig:
    """Returns the configuration of an architecture."""
    config: PreTrainedConfig = CONFIG_MAPPING["wav2vec2"](**ARCHITECTURES[name])
    _set_vocabulary(config, vocabulary)
    return config


def _configure(config: PreTrainedConfig, settings: _TrainingSettings) -> None:
    """Sets what a configuration gets for training, whatever it had before.

    Raises:
        CliError: The attention implementation is not available.
    """
    config._attn_implementation = attention_implementation(settings.attention, config)
    # transformers' own draws differ between ranks, which corrupts ZeRO's gradients without an error (LayerDrop), and
    # depend on the batch (SpecAugment): `asrscale.model.regularisation` does both.
    config.update({"layerdrop": 0.0, "apply_spec_augment": False})
    config.update({"mask_time_prob": settings.mask_time_prob, "mask_feature_prob": settings.mask_feature_prob})
    config.update({"ctc_loss_reduction": "mean"})
    if settings.dropout is not None:
        names = (*DROPOUT_SETTINGS, *family_of(config).more_dropouts)
        config.update(dict.fromkeys(names, settings.dropout))


def _load_model(name: str, config: PreTrainedConfig, **settings: Any) -> CtcModel:
    """Returns the model of a checkpoint in fp32: its own type may be bf16, in which nothing is trained."""
    return load_model(name, config, dtype=torch.float32, **settings)


def _set_vocabulary(config: PreTrainedConfig, vocabulary: Vocabulary) -> None:
    """Sets what depends on a model's vocabulary in its configuration."""
    config.update({"vocab_size": len(vocabulary.tokens), "pad_token_id": vocabulary.blank_id})
    if not family_of(config).insists_on_sentence_tokens:
        config.update({"bos_token_id": None, "eos_token_id": None})
