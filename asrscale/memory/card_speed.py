"""The speed of a card as it was measured: what `make gpu-check` writes and `plan --calibration` reads.

{"card": "NVIDIA A100-SXM4-40GB", "slowdown": {"least": 2.1, "likely": 2.4, "most": 3.0}}
"""

from pathlib import Path
from typing import Any

from asrscale.common.errors import CliError
from asrscale.common.json_values import parse_object
from asrscale.memory.gpus import Slowdown

_MOST = 1e6  # times as long as the bound: no run is so slow


def read_calibration(path: str) -> Slowdown:
    """Returns what a file of `make gpu-check` says of a card.

    Raises:
        CliError: The file cannot be read, or says nothing of the kind.
    """
    try:
        content = parse_object(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise CliError(f"--calibration {path}: cannot be read: {error}") from error
    card, times = content.get("card"), content.get("slowdown")
    if not isinstance(card, str) or not card.isprintable() or not isinstance(times, dict):
        raise _useless(path)
    least, likely, most = (_positive(times.get(name)) for name in ("least", "likely", "most"))
    if not 0 < least <= likely <= most:
        raise _useless(path)
    return Slowdown(least, likely, most, source=f"as measured on {card}")


def _positive(value: Any) -> float:
    """Returns a number that is above 0 and of a sensible size; 0 for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 < value < _MOST else 0.0


def _useless(path: str) -> CliError:
    """Returns the error for a file that is none of `make gpu-check`."""
    return CliError(f"--calibration {path}: no measured speed of a card: give the file that make gpu-check writes")
