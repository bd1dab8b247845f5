"""The breakdown of an evaluation as text."""

from typing import Any

from asrscale.results.beside_text import format_beside
from asrscale.results.metrics import UNITS, Metric

GROUPS_SHOWN = 6  # of each way to group


def format_breakdown(found: dict[str, Any]) -> str:
    """Returns what `break_down` found: a line for the whole, one for each way to group, and what was counted beside."""
    lines = [summarise_breakdown(found)]
    for name, groups in found["by"].items():
        lines.append(f"  by {name}: {_format_groups(groups, found['metric'])}")
    return "\n".join([*lines, *format_beside(found)])


def summarise_breakdown(found: dict[str, Any]) -> str:
    """Returns the deciding error rate of the whole with its interval, and how transcripts were normalised, as one line.

    It is the rate that `break_down` was asked for.
    """
    metric: Metric = found["metric"]
    normaliser = ", ".join(found["normaliser"]).replace("_", " ")
    rate = _format_rate(found, metric)
    return f"{metric.upper()} {rate} in 95 % of resampled {found['resampled']}; transcripts: {normaliser}"


def _format_groups(groups: dict[str, Any], metric: Metric) -> str:
    """Returns the rates of the groups with the most words or characters, and how many more there are."""
    largest = sorted(groups, key=lambda value: -groups[value][f"{UNITS[metric]}s"])[:GROUPS_SHOWN]
    shown = [f"{value.strip()} {_format_rate(groups[value], metric)}" for value in groups if value in largest]
    text = ", ".join(shown)
    more = len(groups) - GROUPS_SHOWN
    return f"{text} and {more:,} more" if more > 0 else text


def _format_rate(rates: dict[str, Any], metric: Metric) -> str:
    return f"{rates[metric]:.2%} ({rates[f'{metric}_low']:.2%} to {rates[f'{metric}_high']:.2%})"
