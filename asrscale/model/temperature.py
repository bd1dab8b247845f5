"""The temperatures of a model's confidences: a file in the model's folder, which transformers passes over.

One is of the best paths, one of searches without a language model; that of a search with one is kept beside its
weights.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asrscale.common.atomic_files import write_json
from asrscale.common.errors import CliError
from asrscale.common.json_values import parse_object, positive_number

TEMPERATURE_FILE = "asrscale_confidence.json"


@dataclass(frozen=True)
class Temperatures:
    """What was found on validation data; 1 where it was not looked for."""

    best_paths: float = 1.0
    search: float = 1.0  # with hot words or --nbest, without a language model


def read_temperatures(folder: str) -> Temperatures:
    """Returns the temperatures of a model by its folder; those of ids of the hub are 1.

    Raises:
        CliError: The file is damaged.
    """
    path = Path(folder, TEMPERATURE_FILE)
    if not os.path.isdir(folder) or not path.is_file():
        return Temperatures()
    try:
        known = parse_object(path.read_text(encoding="utf-8"))
        of_search = known.get("search", {})
        return Temperatures(
            best_paths=positive_number(known.get("temperature", 1.0)),
            search=positive_number(of_search.get("temperature", 1.0)),
        )
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise CliError(f"{path} is damaged ({error}): delete it, or evaluate with --tune again") from error


def write_temperatures(folder: Path, best_paths: float | None, search: float | None, known: dict[str, Any]) -> Path:
    """Writes temperatures of a model into its folder, with what is known of how they were found; returns the file.

    Args:
        folder: Of the model.
        best_paths: Of the best paths; None leaves what the file says of them.
        search: Of searches without a language model; None leaves what the file says of them.
        known: Where they were found.
    """
    path = folder / TEMPERATURE_FILE
    kept: dict[str, Any] = parse_object(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if best_paths is not None:
        of_search = {"search": kept["search"]} if "search" in kept else {}
        kept = {"temperature": best_paths, **known, **of_search}
    if search is not None:
        kept["search"] = {"temperature": search, **known}
    write_json(path, kept)
    return path
