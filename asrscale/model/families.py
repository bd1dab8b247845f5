"""The families of models that can be trained, and where the parts of each are.

transformers calls a family by the `model_type` of its configuration. All of them are alike: a stem makes frames of
samples, a projection widens them, an encoder of equal layers follows, and a linear head gives tokens. Some checkpoints
have an adapter between the last two. Wav2Vec2-BERT has no stem: its frames are log-mel features.
"""

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CTC_MAPPING

from asrscale.speech.frames import FrameGeometry, geometry_of

CtcModel: TypeAlias = PreTrainedModel  # a class of transformers that AutoModelForCTC chooses from


@dataclass(frozen=True)
class Family:
    """What distinguishes the models of one family; names are those of modules and attributes in transformers."""

    attention: str = "attention"  # the module of each encoder layer that attends
    value_projection: str = "v_proj"  # the linear layer of that module whose output is attended to
    # A regular expression of the linear layers of each encoder layer, which LoRA adapts.
    linear_layers: str = r"(attention|feed_forward)\.(\w+_proj|\w+_dense)"
    # Whether its configuration wants tokens of a beginning and an end of sentence, which CTC does not use.
    insists_on_sentence_tokens: bool = False
    # Whether it has a mask vector even where nothing is masked.
    always_has_mask_vector: bool = False
    # What its configuration calls dropouts that wav2vec2 does not have.
    more_dropouts: tuple[str, ...] = ()
    # One of the encoder's modules whose outputs (B, C, F) a convolution over time gets, apart from its own input.
    before_convolutions: str | None = None
    # One of the model's dropouts that get (B, C, F), unlike the others.
    channels_first_dropout: str | None = None


_OF_CONFORMERS = Family(
    attention="self_attn",
    value_projection="linear_v",
    linear_layers=r"(self_attn\.linear_\w+|ffn[12]\.\w+_dense)",
    more_dropouts=("conformer_conv_dropout",),
    channels_first_dropout=r".*\.conv_module\.dropout",
)

# By `model_type`.
FAMILIES: dict[str, Family] = {
    "wav2vec2": Family(),
    "wav2vec2-conformer": replace(_OF_CONFORMERS, before_convolutions=r"layers\.\d+\.conv_module\.glu"),
    "hubert": Family(before_convolutions=r"pos_conv_embed\.batch_norm"),
    "wavlm": Family(),
    "data2vec-audio": Family(before_convolutions=r"pos_conv_embed\.layers\.\d+"),
    "unispeech": Family(),
    "unispeech-sat": Family(insists_on_sentence_tokens=True, always_has_mask_vector=True),
    "sew": Family(),
    # Its convolutions see no frame after their own, unlike those of the conformer.
    "wav2vec2-bert": _OF_CONFORMERS,
}


def family_of(config: PreTrainedConfig) -> Family:
    """Returns the family of a model with this configuration."""
    return FAMILIES[config.model_type]


def model_class(config: PreTrainedConfig) -> Any:
    """Returns the class of transformers that models of this configuration have: what AutoModelForCTC chooses."""
    return MODEL_FOR_CTC_MAPPING[type(config)]


def geometry_of_model(model: CtcModel) -> FrameGeometry:
    """Returns how many frames a model makes of samples.

    As cheap as every pass needs it: a configuration's own `to_dict` copies all of it.
    """
    config = model.config
    return geometry_of(vars(config) | {"model_type": config.model_type})


def stem_of(model: CtcModel) -> Any | None:
    """Returns the module that makes frames of samples, whose `conv_layers` are convolutions.

    None of a family that learns from log-mel features: `asrscale.model.log_mel` makes them.
    """
    return getattr(model.base_model, "feature_extractor", None)


def encoder_of(model: CtcModel) -> Any:
    """Returns the transformer, a module which gets projected frames (B, F, H); its `layers` are alike."""
    return model.base_model.encoder


def adapter_layers_of(model: CtcModel) -> list[nn.Module]:
    """Returns the layers of the adapter between encoder and head, the first one first; none where it has no adapter."""
    adapter = getattr(model.base_model, "adapter", None)
    return list(adapter.layers) if adapter else []


def attentions_of(model: CtcModel) -> list[nn.Module]:
    """Returns the modules that attend: of each encoder layer, and of those layers of an adapter that have one."""
    name = family_of(model.config).attention
    layers = [*encoder_of(model).layers, *(layer for layer in adapter_layers_of(model) if hasattr(layer, name))]
    return [layer.get_submodule(name) for layer in layers]


def head_of(model: CtcModel) -> nn.Linear:
    """Returns the last layer, from hidden states to tokens; all families call it `lm_head`."""
    head: nn.Linear = model.lm_head
    return head
