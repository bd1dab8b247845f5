"""The folder of a language model: its arrays as safetensors, what is known of it as JSON.

safetensors files are read in place: whatever its size, a model is there at once, and processes on a machine share its
memory. An ARPA file must be parsed, for a minute per ten million n-grams.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from asrscale.common.errors import CliError
from asrscale.common.json_values import parse_object
from asrscale.ngrams.arpa import is_arpa, read_arpa
from asrscale.ngrams.array_files import write_array
from asrscale.ngrams.model import NgramModel
from asrscale.ngrams.tokens import SPECIAL_WORDS

MODEL_FILE = "ngrams.safetensors"
DESCRIPTION_FILE = "language_model.json"
FORMAT_VERSION = 1

_DTYPES: dict[str, Literal["U8", "I64", "F32"]] = {"uint8": "U8", "int64": "I64", "float32": "F32"}
_CHUNK = 1 << 22  # entries that are in memory at once


def write_model(model: NgramModel, path: Path) -> None:
    """Writes a model as safetensors, a part at a time: safetensors' own function has all of it in memory twice.

    Raises:
        OSError: It cannot be written.
    """
    arrays: dict[str, npt.NDArray[Any]] = {
        "sizes": np.array(model.sizes, np.int64),
        "keys": model.keys,
        "suffixes": model.suffixes,
        "log10_probabilities": model.log10_probabilities,
        "log10_backoffs": model.log10_backoffs,
        "words": np.frombuffer("\n".join(model.words).encode(), np.uint8),
    }
    header = _header(arrays)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for array in arrays.values():
            for start in range(0, len(array), _CHUNK):
                write_array(array[start : start + _CHUNK], file)


def _header(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Returns the JSON of a safetensors file that has these arrays one behind another."""
    header: dict[str, Any] = {"__metadata__": {"format_version": str(FORMAT_VERSION)}}
    start = 0
    for name, array in arrays.items():
        header[name] = {
            "dtype": _DTYPES[str(array.dtype)],
            "shape": list(array.shape),
            "data_offsets": [start, start + array.nbytes],
        }
        start += array.nbytes
    text = json.dumps(header)
    return (text + " " * (-len(text) % 8)).encode()  # the data begin at a multiple of 8 bytes


def read_model(path: Path) -> NgramModel:
    """Reads a model that `write_model` wrote.

    Raises:
        CliError: It cannot be read, or is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            arrays = {name: file.get_tensor(name).numpy() for name in file.keys()}  # noqa: SIM118 — it is no dict
        words = bytes(arrays["words"]).decode().split("\n")
        model = NgramModel(
            words,
            tuple(arrays["sizes"].tolist()),
            *(arrays[name] for name in ("keys", "log10_probabilities", "log10_backoffs", "suffixes")),
        )
        _check(model)
    except (OSError, SafetensorError, LookupError, ValueError) as error:
        why = " ".join(str(error).split())
        raise CliError(f"{path} is damaged ({why}): copy it again, or make it anew with asrscale.lm") from error
    return model


def _check(model: NgramModel) -> None:
    """Raises ValueError where arrays do not belong together."""
    states = 1 + sum(model.sizes)
    contexts = 1 + sum(model.sizes[:-1])
    lengths = (len(model.keys), len(model.log10_probabilities), len(model.log10_backoffs), len(model.suffixes))
    is_whole = tuple(model.words[:3]) == SPECIAL_WORDS and len(model.words) == model.sizes[0]
    if not is_whole or lengths != (sum(model.sizes[1:]), states, contexts, contexts) or min(model.sizes) < 0:
        raise ValueError("its parts do not belong together")
    # A suffix is shorter, so that backing off comes to an end.
    if ((model.suffixes[1:] < 0) | (model.suffixes[1:] >= np.arange(1, contexts))).any():
        raise ValueError("one of its suffixes is none")


def open_model(name: str) -> NgramModel:
    """Opens a language model: a folder of asrscale.lm, or an ARPA file of any toolkit.

    Raises:
        CliError: It is missing or damaged, or of a kind that is not read.
    """
    path = Path(name)
    if (path / MODEL_FILE).is_file():
        return read_model(path / MODEL_FILE)
    if path.is_dir():
        raise CliError(f"--lm {name}: no {MODEL_FILE} here: give a folder that asrscale.lm wrote, or an ARPA file")
    if not path.is_file():
        raise CliError(f"--lm {name}: no such folder or file: give a folder that asrscale.lm wrote, or an ARPA file")
    if not is_arpa(path):
        raise CliError(
            f"--lm {name}: only ARPA files are read, named *.arpa or *.arpa.gz; of a binary of KenLM or SRILM, "
            "give the ARPA file that it was made of"
        )
    return read_arpa(path)


def read_description(folder: Path) -> dict[str, Any]:
    """Returns what is known of the model in a folder; nothing where that is not said."""
    path = folder / DESCRIPTION_FILE
    if not path.is_file():
        return {}
    try:
        return parse_object(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CliError(f"{path} is damaged ({error}): copy it again, or make it anew with asrscale.lm") from error
