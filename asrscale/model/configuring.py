"""What the configuration of a model gets for training, whatever it had before."""

from dataclasses import dataclass

from transformers import PreTrainedConfig

from asrscale.model.architectures import DROPOUT_SETTINGS
from asrscale.model.attention import attention_implementation
from asrscale.model.families import CtcModel, family_of
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
    _set_masks(config, settings.mask_time_prob, settings.mask_feature_prob)
    config.update({"ctc_loss_reduction": "mean"})
    if settings.dropout is not None:
        names = (*DROPOUT_SETTINGS, *family_of(config).more_dropouts)
        config.update(dict.fromkeys(names, settings.dropout))


def choose_masks(model: CtcModel, mask_time_prob: float, mask_feature_prob: float) -> None:
    """Sets the shares of SpecAugment of a model that was made for some, before it was known which.

    Where nothing is masked it loses its mask vector, as transformers makes such a model.
    """
    _set_masks(model.config, mask_time_prob, mask_feature_prob)
    masks_nothing = not mask_time_prob and not mask_feature_prob
    has_vector = hasattr(model.base_model, "masked_spec_embed")
    if masks_nothing and has_vector and not family_of(model.config).always_has_mask_vector:
        del model.base_model.masked_spec_embed


def _set_masks(config: PreTrainedConfig, mask_time_prob: float, mask_feature_prob: float) -> None:
    config.update({"mask_time_prob": mask_time_prob, "mask_feature_prob": mask_feature_prob})


def set_vocabulary(config: PreTrainedConfig, vocabulary: Vocabulary) -> None:
    """Sets what depends on a model's vocabulary in its configuration."""
    config.update({"vocab_size": len(vocabulary.tokens), "pad_token_id": vocabulary.blank_id})
    if not family_of(config).insists_on_sentence_tokens:
        config.update({"bos_token_id": None, "eos_token_id": None})
