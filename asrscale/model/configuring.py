"""What the configuration of a model gets for training, whatever it had before."""

from dataclasses import dataclass

from transformers import PreTrainedConfig

from asrscale.model.architectures import DROPOUT_SETTINGS
from asrscale.model.attention import attention_implementation
from asrscale.model.families import family_of
from asrscale.speech.vocabulary import Vocabulary


@dataclass(frozen=True)
class TrainingSettings:
    """What a run says about its model; see `asrscale.model.building.build_recognizer`."""

    attention: str
    mask_time_prob: float
    mask_feature_prob: float
    dropout: float | None


def configure(config: PreTrainedConfig, settings: TrainingSettings) -> None:
    """Sets what a run says about a model.

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


def set_vocabulary(config: PreTrainedConfig, vocabulary: Vocabulary) -> None:
    """Sets what depends on a model's vocabulary in its configuration."""
    config.update({"vocab_size": len(vocabulary.tokens), "pad_token_id": vocabulary.blank_id})
    if not family_of(config).insists_on_sentence_tokens:
        config.update({"bos_token_id": None, "eos_token_id": None})
