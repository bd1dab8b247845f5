"""Writes a stock Hugging Face model folder, and checks what was written."""

import errno
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from asrscale.common.atomic_files import sync
from asrscale.model.lora import merge_lora
from asrscale.model.recognizer import Recognizer

WEIGHTS_FILE = "model.safetensors"  # transformers' name
CONFIG_FILE = "config.json"  # transformers' name
CARD_FILE = "README.md"  # the hub's name


def export_model(recognizer: Recognizer, folder: Path, dtype: torch.dtype) -> None:
    """Writes a stock Hugging Face model folder in `dtype`, with LoRA's matrices added to the weights.

    The recognizer's own model is changed, too: its LoRA matrices are merged, and it is cast to `dtype`.

    Raises:
        OSError: It could not be written; nothing of it is left, and the folder is as it was.
        RuntimeError: The weights in the file are not, name by name and bit by bit, those of the model.
    """
    merge_lora(recognizer.model)
    weights = recognizer.model.to(dtype).state_dict()
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _write_checked(recognizer, weights, partial, dtype)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)  # makes room on a disk that is full
        raise
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _write_checked(recognizer: Recognizer, weights: Mapping[str, Tensor], folder: Path, dtype: torch.dtype) -> None:
    """Writes a model folder to the disk, and compares its weights with `weights`; raises as `export_model`."""
    try:
        recognizer.save(folder)
    except SafetensorError as error:  # what it makes of an error of the disk
        raise OSError(errno.EIO, str(error)) from error
    _check_written(folder, weights, dtype)
    sync(*folder.iterdir(), folder)


def _check_written(folder: Path, weights: Mapping[str, Tensor], dtype: torch.dtype) -> None:
    """Raises RuntimeError where the weights in a model folder are not in `dtype`, or differ from `weights`."""
    written = load_file(folder / WEIGHTS_FILE)
    if written.keys() != weights.keys():
        raise RuntimeError(f"{folder}: missing or foreign weights {sorted(written.keys() ^ weights.keys())}")
    for name, weight in weights.items():
        if written[name].dtype != dtype or not torch.equal(written[name], weight):
            raise RuntimeError(f"{folder}: {name} was not written as it is")


def is_exported(folder: Path, dtype: torch.dtype) -> bool:
    """Whether a model folder is finished (its card is written last) and in `dtype`."""
    if not (folder / CARD_FILE).is_file():
        return False
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    return bool(config["dtype"] == str(dtype).removeprefix("torch."))
