"""Loads the weights of a checkpoint, all of them or none: what a file lacks, or has too much of, is an error.

transformers draws weights that a file lacks at random and drops those that the model has no place for, which ruins a
model without an error.
"""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import PreTrainedConfig

from asrscale.common.checkpoint_files import hub_refusal, split_revision
from asrscale.common.errors import CliError
from asrscale.model.families import CtcModel, head_of, model_class
from asrscale.model.language_adapters import ADAPTER_MODULE
from asrscale.model.lora import add_lora, merge_lora
from asrscale.model.model_folders import WEIGHTS_FILE, ModelSource, check_has_weights
from asrscale.model.quiet import quiet_huggingface
from asrscale.model.reasons import one_line_errors, short_reason

_HEAD = "lm_head.weight"
_MASK_VECTOR = "masked_spec_embed"  # a model without SpecAugment has none
_LORA_MATRIX = ".lora_A.default.weight"
_SHOWN = 3


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model with the weights of a checkpoint.

    Attributes:
        model: What does not fit of the head is drawn at random.
        head_rows: Of the head in the checkpoint; None where it has none, such as one that was pretrained only.
    """

    model: CtcModel
    head_rows: int | None


@quiet_huggingface()
def load_weights(name: str, source: ModelSource, config: PreTrainedConfig, **settings: Any) -> LoadedModel:
    """Returns a model with the weights of a checkpoint.

    Args:
        name: What `--model` names, for messages.
        source: Where the weights are.
        config: The configuration of the model; its head may have another size than that in the checkpoint.
        settings: Of `from_pretrained`, such as `dtype`.

    Raises:
        CliError: There are no weights, they cannot be read, or they are of another model.
    """
    if Path(source.weights).is_dir():
        check_has_weights(Path(source.weights))
    if source.is_run_checkpoint:
        return _load_run_checkpoint(name, Path(source.weights), config, **settings)
    id, revision = split_revision(source.weights)
    try:
        model, info = model_class(config).from_pretrained(
            id,
            revision=revision,
            config=config,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **settings,
        )
    except pickle.UnpicklingError as error:
        raise CliError(
            f"--model {name}: its pytorch_model.bin is damaged, or holds more than weights, which may be harmful and "
            "is not loaded: get it as safetensors, or another copy"
        ) from error
    except Exception as error:  # of a reader of any format, whatever it meets
        reason = hub_refusal(source.weights, error) or short_reason(error)
        raise CliError(f"--model {name} cannot be loaded: {reason}") from error
    with one_line_errors(f"--model {name}", source.weights):
        head_rows = _check_complete(name, model, info)
    return LoadedModel(model, head_rows)


def _check_complete(name: str, model: CtcModel, info: dict[str, Any]) -> int | None:
    """Returns the rows of a checkpoint's head, None where it has none.

    Raises:
        CliError: Other weights than those of the head and of adapters for languages are missing, or too much.
    """
    missing = {one for one in info["missing_keys"] if not _may_be_missing(one)}
    inner = f"{model.base_model_prefix}."
    foreign = {one for one in info["unexpected_keys"] if one.startswith(inner) and _MASK_VECTOR not in one}
    resized = {one for one, *_ in info["mismatched_keys"] if not _may_be_missing(one)}
    for problem, names in (("lacks", missing), ("has no place for", foreign), ("has other sizes for", resized)):
        if names:
            shown = ", ".join(sorted(names)[:_SHOWN])
            subject = "the model of its config.json" if names is foreign else "its file of weights"
            raise CliError(f"--model {name}: {subject} {problem} {len(names):,} weights, such as {shown}")

    if _HEAD in info["missing_keys"]:
        return None
    rows_in_file = {one: shape[0] for one, shape, _ in info["mismatched_keys"]}
    return int(rows_in_file.get(_HEAD, head_of(model).out_features))


def _may_be_missing(name: str) -> bool:
    return name.startswith("lm_head.") or _MASK_VECTOR in name or f".{ADAPTER_MODULE}." in name


def _load_run_checkpoint(
    name: str, checkpoint: Path, config: PreTrainedConfig, dtype: torch.dtype | None = None
) -> LoadedModel:
    """Returns the model of a checkpoint of a training run, with LoRA's matrices added to the weights."""
    model = model_class(config)(config)
    try:
        weights = load_file(checkpoint / WEIGHTS_FILE)
        rank = next((len(weight) for key, weight in weights.items() if key.endswith(_LORA_MATRIX)), 0)
        if rank:
            add_lora(model, rank)
        different = model.load_state_dict(weights, strict=False)
    except Exception as error:  # of the disk or the reader, or other weights than the configuration's
        raise CliError(f"--model {name} cannot be loaded: {short_reason(error)}") from error
    info = {"missing_keys": different.missing_keys, "unexpected_keys": different.unexpected_keys}
    head_rows = _check_complete(name, model, info | {"mismatched_keys": []})
    merge_lora(model)
    model.requires_grad_(True)
    return LoadedModel(model.to(dtype) if dtype else model, head_rows)
