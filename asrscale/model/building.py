"""Builds the model that a run trains."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC
from transformers.utils import is_flash_attn_2_available

from asrscale.common.errors import CliError
from asrscale.model.architectures import ARCHITECTURES, DROPOUT_SETTINGS
from asrscale.model.padding import make_padding_invariant
from asrscale.model.pretrained import checkpoint_processor, load_pretrained, new_processor
from asrscale.model.recognizer import Recognizer
from asrscale.speech.vocabulary import Vocabulary, build_vocabulary, read_vocabulary


def build_recognizer(
    name: str, characters: Iterable[str], *, seed: int = 0, vocab: str | None = None, attention: str = "auto",
    mask_time_prob: float = 0.0, mask_feature_prob: float = 0.0, dropout: float | None = None,
) -> Recognizer:  # fmt: skip
    """Makes the model that a run trains.

    Args:
        name: A name of `ARCHITECTURES`, a Hugging Face id, or a model folder.
        characters: The characters of the training transcripts, for a model without a vocabulary of its own.
        seed: Seeds whatever weights are drawn at random; the global generator is seeded with it.
        vocab: `shards` builds a vocabulary from `characters`, else the path of a vocab.json; a trained head keeps its
            rows of the characters that both know. None is the checkpoint's own.
        attention: The implementation in transformers; `auto` is its own choice.
        mask_time_prob: SpecAugment over time is wanted, so the model needs its mask vector; `regularise` applies it.
        mask_feature_prob: SpecAugment over features is wanted.
        dropout: Sets every dropout of the model; None keeps what the checkpoint has.

    Raises:
        CliError: The model cannot be found, or its vocabulary is not usable.
    """
    settings = _settings(attention, mask_time_prob, mask_feature_prob, dropout)
    wanted = None if vocab is None else build_vocabulary(characters) if vocab == "shards" else read_vocabulary(vocab)
    torch.manual_seed(seed)
    if name in ARCHITECTURES:
        vocabulary = wanted or build_vocabulary(characters)
        config = Wav2Vec2Config(**ARCHITECTURES[name] | settings | _vocabulary_config(vocabulary))
        return Recognizer(make_padding_invariant(Wav2Vec2ForCTC(config)), new_processor(vocabulary, config), vocabulary)
    settings["dtype"] = torch.float32  # a checkpoint's own may be bf16, which is not to be trained in
    config = load_pretrained(Wav2Vec2Config, name)
    own = checkpoint_processor(name, config)
    if own is not None:
        recognizer = Recognizer(make_padding_invariant(load_pretrained(Wav2Vec2ForCTC, name, **settings)), *own)
        return move_head(recognizer, wanted) if wanted else recognizer
    vocabulary = wanted or build_vocabulary(characters)
    settings |= _vocabulary_config(vocabulary)
    model = load_pretrained(Wav2Vec2ForCTC, name, **settings, ignore_mismatched_sizes=True)
    # Rows of a head that was trained on other letters must not be taken for ours because their number fits.
    model.lm_head.reset_parameters()
    return Recognizer(make_padding_invariant(model), new_processor(vocabulary, config), vocabulary)


def move_head(recognizer: Recognizer, vocabulary: Vocabulary) -> Recognizer:
    """The same recogniser for another vocabulary: rows of tokens that both have keep their weights, others are drawn.

    Never by size: other letters of the same number would fit without a word.
    """
    model, old = recognizer.model, recognizer.model.lm_head
    head = nn.Linear(old.in_features, len(vocabulary.tokens))
    twins = vocabulary.twins(recognizer.vocabulary)
    with torch.no_grad():
        head.weight[list(twins)] = old.weight[list(twins.values())]
        head.bias[list(twins)] = old.bias[list(twins.values())]
    model.lm_head = head
    model.config.update(_vocabulary_config(vocabulary))
    processor = new_processor(vocabulary, model.config)
    processor.feature_extractor = recognizer.processor.feature_extractor
    return Recognizer(model, processor, vocabulary)


def build_meta_recognizer(
    name: str, *, dtype: torch.dtype, attention: str = "auto", dropout: float | None = None
) -> Recognizer:
    """What `build_recognizer` makes, in training mode but without any weights: on torch's meta device.

    `name` may also be a config.json file. The vocabulary is a stand-in.
    """
    vocabulary, settings = build_vocabulary(""), _settings(attention, 0.05, 0.0, dropout)
    given = ARCHITECTURES.get(name)
    config = (
        Wav2Vec2Config(**given | _vocabulary_config(vocabulary)) if given else load_pretrained(Wav2Vec2Config, name)
    )
    config._attn_implementation = settings.pop("attn_implementation")
    config.update(settings)
    with torch.device("meta"):
        model = make_padding_invariant(Wav2Vec2ForCTC(config))
    # transformers makes the mask vector of a raw tensor, on the CPU all the same.
    return Recognizer(model.to(device="meta", dtype=dtype).train(), new_processor(vocabulary, config), vocabulary)


def _settings(attention: str, mask_time_prob: float, mask_feature_prob: float, dropout: float | None) -> dict[str, Any]:
    """What a model's configuration gets; CliError where FlashAttention is asked for and not there."""
    if attention == "flash_attention_2" and not is_flash_attn_2_available():
        raise CliError("--attention flash_attention_2 needs a GPU and the flash-attn package: choose auto or sdpa")
    return {
        # transformers' own draws differ between ranks, which corrupts ZeRO's gradients without an error (LayerDrop),
        # and depend on the batch (SpecAugment): `regularise` does both.
        "layerdrop": 0.0,
        "apply_spec_augment": False,
        "mask_time_prob": mask_time_prob,
        "mask_feature_prob": mask_feature_prob,
        "ctc_loss_reduction": "mean",
        "attn_implementation": None if attention == "auto" else attention,
    } | ({} if dropout is None else dict.fromkeys(DROPOUT_SETTINGS, dropout))


def _vocabulary_config(vocabulary: Vocabulary) -> dict[str, Any]:
    special = {"pad_token_id": vocabulary.blank_id, "bos_token_id": None, "eos_token_id": None}
    return {"vocab_size": len(vocabulary.tokens)} | special
