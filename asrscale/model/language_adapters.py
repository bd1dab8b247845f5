"""Adapters for languages: small layers in a model for many languages, such as MMS, that each language has its own of.

With a head and a vocabulary of its own, a language has a file adapter.CODE.safetensors beside the weights that all
languages share. The source is Pratap et al. 2023, "Scaling Speech Technology to 1,000+ Languages", section 4.2; names
and files are those of transformers.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedConfig

from asrscale.common.atomic_files import use_default_mode
from asrscale.common.checkpoint_files import checkpoint_file
from asrscale.common.errors import CliError
from asrscale.model.families import CtcModel, head_of
from asrscale.model.freezing import freeze_feature_encoder
from asrscale.model.reasons import short_reason

ADAPTER_MODULE = "adapter_layer"  # of each layer of the encoder
_HEAD = "lm_head."


@dataclass(frozen=True)
class Languages:
    """Which language a model of many is set to, and which others can be exported with it.

    Attributes:
        code: Of the language, as the checkpoint has it, such as `tur`.
        base: The model that has the weights of all languages: a folder, or an id of the hub with its revision.
        folder: Has the adapters of `others`; "" where there are none.
        others: The tokens of other languages and their ids, by code.
    """

    code: str
    base: str = ""
    folder: str = ""
    others: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def adapter_name(code: str) -> str:
    """Returns the name of the file of a language's adapter and head."""
    return f"adapter.{code}.safetensors"


def find_adapter(checkpoint: str, code: str) -> Path | None:
    """Returns where the adapter of a language lies on this machine, or None where the checkpoint has none for it.

    Raises:
        OSError: Whether it has one cannot be found out, as without a network.
    """
    return checkpoint_file(checkpoint, adapter_name(code)) or checkpoint_file(checkpoint, f"adapter.{code}.bin")


def has_adapters(config: PreTrainedConfig) -> bool:
    """Whether models of a configuration have layers for languages."""
    return getattr(config, "adapter_attn_dim", None) is not None


def adapter_weights(model: CtcModel) -> dict[str, nn.Parameter]:
    """Returns what is a language's own: the weights of the adapters and of the head, by name."""
    return {
        name: weight
        for name, weight in model.named_parameters()
        if f".{ADAPTER_MODULE}." in name or name.startswith(_HEAD)
    }


def load_adapter(model: CtcModel, path: Path) -> None:
    """Gives a model the adapter and the head of a language.

    Raises:
        CliError: The file cannot be read, or is of another model.
    """
    weights = _read_weights(path)
    own = adapter_weights(model)
    different = weights.keys() ^ own.keys()
    different |= {name for name in weights.keys() & own.keys() if weights[name].shape[1:] != own[name].shape[1:]}
    if different:
        raise CliError(f"{path} is the adapter of another model: {', '.join(sorted(different)[:3])} do not fit")

    head = head_of(model)
    tokens = len(weights[f"{_HEAD}weight"])
    if tokens != head.out_features:
        model.lm_head = nn.Linear(head.in_features, tokens, dtype=head.weight.dtype)
        model.config.vocab_size = tokens
    with torch.no_grad():
        for name, weight in adapter_weights(model).items():
            weight.copy_(weights[name])


def _read_weights(path: Path) -> dict[str, Tensor]:
    """Returns the weights in a file; raises CliError where it holds anything else."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise CliError(f"{path} cannot be read: {short_reason(error)}") from error
    except Exception as error:  # of pickle, whatever it meets
        raise CliError(f"{path} holds no weights: {short_reason(error)}") from error
    if not isinstance(loaded, dict) or not all(isinstance(weight, Tensor) for weight in loaded.values()):
        raise CliError(f"{path} holds no weights by name")
    return loaded


def reset_adapter(model: CtcModel) -> None:
    """Draws the adapters of a language that a checkpoint lacks; the head is not changed.

    They begin close to adding nothing, as Houlsby et al. 2019 ("Parameter-Efficient Transfer Learning for NLP",
    section 2.1) found necessary: what they add is of the size of the model's other initial weights.
    """
    for name, module in model.named_modules():
        if f".{ADAPTER_MODULE}." not in name:
            continue
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=model.config.initializer_range)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            module.reset_parameters()


def write_adapters(model: CtcModel, languages: Languages, folder: Path) -> None:
    """Writes the adapter and the head of a model's language to a folder, and copies those of the others.

    Raises:
        OSError: They could not be written.
        SafetensorError: They could not be written.
    """
    weights = {name: weight.detach().cpu().contiguous() for name, weight in adapter_weights(model).items()}
    path = folder / adapter_name(languages.code)
    save_file(weights, path, metadata={"format": "pt"})
    use_default_mode(path)
    for code in languages.others:
        shutil.copyfile(Path(languages.folder, adapter_name(code)), folder / adapter_name(code))


def train_adapter_only(model: CtcModel) -> None:
    """Freezes all but what is a language's own: its adapters and its head."""
    model.requires_grad_(False)
    freeze_feature_encoder(model)
    for weight in adapter_weights(model).values():
        weight.requires_grad_(True)
