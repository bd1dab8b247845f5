"""Writes a stock Hugging Face model folder, and checks what was written."""

import errno
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from asrscale.common.atomic_files import remove_folder, remove_link, sync, write_json
from asrscale.common.json_values import parse_object
from asrscale.model.language_adapters import adapter_name, adapter_weights
from asrscale.model.lora import merge_lora
from asrscale.model.model_folders import PROVENANCE_FILE, WEIGHTS_FILE
from asrscale.model.recognizer import Recognizer

CARD_FILE = "README.md"  # the hub's name


@dataclass(frozen=True)
class Provenance:
    """Which weights of a run a model folder holds.

    Attributes:
        step: Of the run, at which they were saved; of an average the last one.
        checkpoint_sha256: Of the file in the checkpoint of that step that they come from.
        dtype: Of the weights in the folder, as its config.json names it.
        weights_sha256: Of the file of weights in the folder.
        weights: Which they are: the "best", the "average" of the last checkpoints, or "ema", the moving average.
        compared: All kinds of weights that were compared for it, and of each the SHA-256 of the files in checkpoints
            that it comes from, by step.
    """

    step: int
    checkpoint_sha256: str
    dtype: str
    weights_sha256: str
    weights: str = "best"
    compared: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def export_model(recognizer: Recognizer, folder: Path, dtype: torch.dtype, *, adapter_only: bool = False) -> None:
    """Writes a stock Hugging Face model folder in `dtype`, with LoRA's matrices added to the weights.

    The recognizer's own model is changed, too: its LoRA matrices are merged, and it is cast to `dtype`.

    Args:
        recognizer: The model and its processor.
        folder: Is replaced.
        dtype: Of the weights in the folder.
        adapter_only: Whether of a model of many languages only the adapter and the head are written.

    Raises:
        OSError: It could not be written; nothing of it is left, and the folder is as it was.
        RuntimeError: The weights in the file are not, name by name and bit by bit, those of the model.
    """
    merge_lora(recognizer.model)
    weights = recognizer.model.to(dtype).state_dict()
    partial = folder.with_name(f"{folder.name}.partial")
    remove_folder(partial)
    try:
        _write_checked(recognizer, weights, partial, adapter_only=adapter_only)
    except OSError:
        remove_folder(partial)  # makes room on a disk that is full
        raise
    remove_folder(folder)
    partial.rename(folder)


def _write_checked(recognizer: Recognizer, weights: Mapping[str, Tensor], folder: Path, *, adapter_only: bool) -> None:
    """Writes a model folder to the disk, and compares its weights with `weights`; raises as `export_model`."""
    try:
        if adapter_only:
            recognizer.save_adapter(folder)
            weights = adapter_weights(recognizer.model)
        else:
            recognizer.save(folder)
    except SafetensorError as error:  # what it makes of an error of the disk
        raise OSError(errno.EIO, str(error)) from error
    _check_written(folder, weights)
    sync(*folder.iterdir(), folder)


def _check_written(folder: Path, weights: Mapping[str, Tensor]) -> None:
    """Raises RuntimeError where the weights in a model folder differ from `weights`, in type or value."""
    written = load_file(weights_file(folder))
    if written.keys() != weights.keys():
        raise RuntimeError(f"{folder}: missing or foreign weights {sorted(written.keys() ^ weights.keys())}")
    for name, weight in weights.items():
        if written[name].dtype != weight.dtype or not torch.equal(written[name], weight):
            raise RuntimeError(f"{folder}: {name} was not written as it is")


def weights_file(folder: Path) -> Path:
    """Returns the file of the weights that an exported folder is about: of the model, or else of its language."""
    weights = folder / WEIGHTS_FILE
    if weights.is_file():
        return weights
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    return folder / adapter_name(tokenizer.get("target_lang"))


def has_adapter_only(folder: Path) -> bool:
    """Whether an exported folder has the adapter of a language without the weights that all languages share."""
    return not (folder / WEIGHTS_FILE).is_file()


def write_provenance(
    folder: Path,
    *,
    step: int,
    checkpoint_sha256: str,
    dtype: torch.dtype,
    weights: str = "best",
    compared: Mapping[str, Mapping[str, str]],
) -> None:
    """Records in a model folder which weights of its run it holds.

    Args:
        folder: As `export_model` wrote it.
        step: As in `Provenance`.
        checkpoint_sha256: As in `Provenance`.
        dtype: Of the weights in the folder.
        weights: As in `Provenance`.
        compared: As in `Provenance`.
    """
    provenance = Provenance(
        step=step,
        checkpoint_sha256=checkpoint_sha256,
        dtype=dtype_name(dtype),
        weights_sha256=_file_sha256(weights_file(folder)),
        weights=weights,
        compared=compared,
    )
    write_json(folder / PROVENANCE_FILE, asdict(provenance))


def read_provenance(folder: Path) -> Provenance | None:
    """Returns which weights a model folder holds; None where it does not say, or holds other weights than it says."""
    try:
        provenance = Provenance(**parse_object((folder / PROVENANCE_FILE).read_text(encoding="utf-8")))
        is_true = provenance.weights_sha256 == _file_sha256(weights_file(folder))
    except (OSError, ValueError, TypeError):
        return None
    return provenance if is_true else None


def has_card(folder: Path) -> bool:
    """Whether a model folder is finished: its card is written last."""
    return (folder / CARD_FILE).is_file()


def withdraw_card(folder: Path) -> None:
    """Makes a model folder unfinished again, if it exists, and durably so; a link in its place is removed."""
    remove_link(folder)
    if has_card(folder):
        (folder / CARD_FILE).unlink()
        sync(folder)


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def dtype_name(dtype: torch.dtype) -> str:
    """Returns the name of a type as the config.json of a model has it."""
    return str(dtype).removeprefix("torch.")
