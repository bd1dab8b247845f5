"""Small models and sounds that the tests of models share."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CTC_MAPPING

from asrscale.model.architectures import TINY
from asrscale.model.building import build_recognizer
from asrscale.model.recognizer import Recognizer

# The sizes of a model as transformers makes it, but small.
SMALL = dict(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, conv_dim=[16] * 7,
    num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, vocab_size=30, pad_token_id=29,
)  # fmt: skip
# What differs between the public checkpoints.
FAMILIES = {
    "group": dict(feat_extract_norm="group", do_stable_layer_norm=False),  # base, base-960h, large-960h
    "layer": dict(feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True),  # lv60, XLSR, XLS-R
}

GROUP = dict(feat_extract_norm="group")
LAYER = dict(feat_extract_norm="layer", conv_bias=True)
STABLE = LAYER | dict(do_stable_layer_norm=True)
SEW = dict(model_type="sew", conv_kernel=[10, 3, 3, 3, 3, 2, 2], conv_stride=[5, 2, 2, 2, 2, 2, 2])
BERT = dict(conv_depthwise_kernel_size=7, left_max_position_embeddings=16, right_max_position_embeddings=4)
# Every family, with each norm and whatever else its public checkpoints differ in.
KINDS: dict[str, dict[str, Any]] = {
    "wav2vec2": dict(model_type="wav2vec2", **GROUP),
    "wav2vec2 layer": dict(model_type="wav2vec2", **STABLE),
    "conformer relative": dict(model_type="wav2vec2-conformer", position_embeddings_type="relative", **LAYER),
    "conformer rotary": dict(model_type="wav2vec2-conformer", position_embeddings_type="rotary", **GROUP),
    "hubert": dict(model_type="hubert", **GROUP),
    "hubert layer": dict(model_type="hubert", **STABLE),
    "hubert batch": dict(model_type="hubert", conv_pos_batch_norm=True, **GROUP),
    "wavlm": dict(model_type="wavlm", **GROUP),
    "wavlm layer": dict(model_type="wavlm", **STABLE),
    "data2vec": dict(model_type="data2vec-audio", num_conv_pos_embeddings=5, conv_pos_kernel_size=7),
    "unispeech": dict(model_type="unispeech", **GROUP),
    "unispeech layer": dict(model_type="unispeech", **STABLE),
    "unispeech-sat": dict(model_type="unispeech-sat", **GROUP),
    "unispeech-sat layer": dict(model_type="unispeech-sat", **STABLE),
    "sew": dict(squeeze_factor=2, **SEW, **GROUP),
    "sew layer": dict(squeeze_factor=3, **SEW, **LAYER),
    "bert": dict(model_type="wav2vec2-bert", **BERT),
    "adapter": dict(model_type="wav2vec2", add_adapter=True, **STABLE),
    "conformer adapter": dict(model_type="wav2vec2-conformer", add_adapter=True, output_hidden_size=40, **LAYER),
    "wavlm adapter": dict(model_type="wavlm", add_adapter=True, adapter_kernel_size=5, num_adapter_layers=1, **GROUP),
    "data2vec adapter": dict(model_type="data2vec-audio", add_adapter=True, num_conv_pos_embeddings=2),
    "bert adapter": dict(model_type="wav2vec2-bert", add_adapter=True, num_adapter_layers=2, **BERT),
}
# Their frames come from convolutions, all but those of Wav2Vec2-BERT.
WITH_STEM = [kind for kind in KINDS if KINDS[kind]["model_type"] != "wav2vec2-bert"]
# One of each family.
ONE_OF_EACH = [
    "wav2vec2",
    "conformer relative",
    "hubert",
    "wavlm",
    "data2vec",
    "unispeech",
    "unispeech-sat",
    "sew",
    "bert",
]
# And what a family computes in another way.
VARIANTS = [*ONE_OF_EACH, "conformer rotary", "hubert batch", "wavlm layer", "sew layer", "adapter", "bert adapter"]


def stock_model(kind: str, **settings: Any) -> Any:
    """A model of transformers with weights as if trained, the same at each call: no norm and no bias is neutral."""
    config = stock_config(SMALL | KINDS[kind] | settings)
    torch.manual_seed(0)
    model = MODEL_FOR_CTC_MAPPING[type(config)](config)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.normal_(module.running_mean), torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1 or "rel_" in name or "pos_bias" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return model.eval()


def save_tiny_twin(kind: str, folder: Path) -> Path:
    """Writes the pretrained checkpoint of another family, as large as `tiny` and with its stem; returns the folder."""
    other = {name: value for name, value in KINDS[kind].items() if not name.startswith(("conv_", "feat_"))}
    if kind == "data2vec":
        other |= dict(num_conv_pos_embeddings=2, conv_pos_kernel_size=15)
    if "hubert batch" in kind:
        other |= dict(conv_pos_batch_norm=True)
    one_layer = {"num_adapter_layers": 1}  # its frames of 60 ms hold the letters of the tests' tones, of 80 ms
    config = stock_config(TINY | {"vocab_size": 32} | other | one_layer)
    torch.manual_seed(0)
    MODEL_FOR_CTC_MAPPING[type(config)](config).base_model.save_pretrained(folder)
    return folder


def stock_config(settings: dict[str, Any]) -> Any:
    """The configuration of transformers that `model_type` names, wav2vec2's without one, with settings of its own."""
    others = {name: value for name, value in settings.items() if name != "model_type"}
    return CONFIG_MAPPING[settings.get("model_type", "wav2vec2")](**others)


# A model of about a thousand weights: two convolutions and one layer.
FEW_WEIGHTS = dict(
    conv_dim=[4, 4],
    conv_kernel=[10, 8],
    conv_stride=[20, 16],
    num_feat_extract_layers=2,
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=1,
    intermediate_size=8,
    num_conv_pos_embeddings=2,
    num_conv_pos_embedding_groups=1,
    hidden_dropout=0.0,
    attention_dropout=0.0,
    activation_dropout=0.0,
    feat_proj_dropout=0.0,
    final_dropout=0.0,
)


def untrained_recognizer() -> Recognizer:
    """`tiny` with random weights, the same at each call, ready to transcribe."""
    recognizer = build_recognizer("tiny", "abc", seed=3)
    recognizer.model.eval()
    return recognizer


def noise(*lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    """int16 (B, T) padded with zeros, and (B,) lengths."""
    rng = np.random.default_rng(0)
    waveforms = torch.zeros(len(lengths), max(lengths), dtype=torch.int16)
    for row, length in enumerate(lengths):
        waveforms[row, :length] = torch.from_numpy(rng.integers(-3000, 3000, length, dtype=np.int16))
    return waveforms, torch.tensor(lengths)
