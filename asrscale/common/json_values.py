"""JSON of files that a full disk, a power cut or another person may have damaged."""

import json
import math
from typing import Any


def parse_json(content: str | bytes) -> Any:
    """Returns the value that JSON says.

    Raises:
        ValueError: It is none, or nested deeper than Python follows, for which `json` has an error of its own.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("brackets nested too deep") from error


def parse_object(content: str | bytes) -> dict[str, Any]:
    """Returns the members of a JSON object; raises ValueError where the content is none."""
    value = parse_json(content)
    if not isinstance(value, dict):
        raise ValueError(f"a JSON {type(value).__name__}, no object")
    return value


def positive_number(value: Any) -> float:
    """Returns a finite number above 0; raises ValueError or TypeError where the value is none."""
    number = float(value)
    if not 0 < number < math.inf:
        raise ValueError(f"{value} is not a finite number above 0")
    return number
