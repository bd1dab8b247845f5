"""The temperature of a model's confidences: a file of its own in the model's folder, which transformers passes over."""

import os
from pathlib import Path
from typing import Any

from asrscale.common.atomic_files import write_json
from asrscale.common.errors import CliError
from asrscale.common.json_values import parse_object, positive_number

TEMPERATURE_FILE = "asrscale_confidence.json"


def read_temperature(folder: str) -> float:
    """Returns the temperature of a model by its folder; 1 where it has none, as ids of the hub.

    Raises:
        CliError: The file is damaged.
    """
    path = Path(folder, TEMPERATURE_FILE)
    if not os.path.isdir(folder) or not path.is_file():
        return 1.0
    try:
        return positive_number(parse_object(path.read_text(encoding="utf-8"))["temperature"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CliError(f"{path} is damaged ({error}): delete it, or evaluate with --tune again") from error


def write_temperature(folder: Path, temperature: float, known: dict[str, Any]) -> Path:
    """Writes the temperature of a model into its folder, with what is known of how it was found; returns the file."""
    path = folder / TEMPERATURE_FILE
    write_json(path, {"temperature": temperature, **known})
    return path
