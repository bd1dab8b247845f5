"""Writes a stock Hugging Face model folder, and checks what was written."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file

from asrscale.common.atomic_files import sync
from asrscale.model.lora import merge_lora
from asrscale.model.recognizer import Recognizer

WEIGHTS_FILE = "model.safetensors"  # transformers' name


def export_model(recognizer: Recognizer, folder: Path, dtype: torch.dtype) -> None:
    """Writes a stock Hugging Face model folder in `dtype`, with adapters merged into the weights.

    Raises:
        RuntimeError: What was written is not, name by name and bit by bit, what the model holds.
    """
    merge_lora(recognizer.model)
    weights = recognizer.model.to(dtype).state_dict()
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    recognizer.save(partial)
    written = load_file(partial / WEIGHTS_FILE)
    if written.keys() != weights.keys():
        raise RuntimeError(f"{partial}: missing or foreign weights {sorted(written.keys() ^ weights.keys())}")
    for name, value in weights.items():
        if written[name].dtype != dtype or not torch.equal(written[name], value):
            raise RuntimeError(f"{partial}: {name} was not written as it is")
    sync(*partial.iterdir(), partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def is_exported(folder: Path, dtype: torch.dtype) -> bool:
    """Whether a model folder is finished (its card is written last) and in `dtype`."""
    name, config = str(dtype).removeprefix("torch."), folder / "config.json"
    return (folder / "README.md").is_file() and name == json.loads(config.read_text(encoding="utf-8"))["dtype"]
