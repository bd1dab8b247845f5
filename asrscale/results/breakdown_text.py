"""The breakdown of an evaluation as text."""

from typing import Any

GROUPS_SHOWN = 6  # of each way to group


def format_breakdown(found: dict[str, Any]) -> str:
    """Returns what `break_down` found: a line for the whole, and one for each way to group."""
    lines = [summarise_breakdown(found)]
    for name, groups in found["by"].items():
        lines.append(f"  by {name}: {_format_groups(groups)}")
    return "\n".join(lines)


def summarise_breakdown(found: dict[str, Any]) -> str:
    """Returns the error rate of the whole with its interval, and how transcripts were normalised, as one line."""
    normaliser = ", ".join(found["normaliser"]).replace("_", " ")
    return f"WER {_format_rate(found)} in 95 % of resampled {found['resampled']}; transcripts: {normaliser}"


def _format_groups(groups: dict[str, Any]) -> str:
    """Returns the rates of the groups with the most words, and how many more there are."""
    largest = sorted(groups, key=lambda value: -groups[value]["words"])[:GROUPS_SHOWN]
    shown = [f"{value.strip()} {_format_rate(groups[value])}" for value in groups if value in largest]
    text = ", ".join(shown)
    more = len(groups) - GROUPS_SHOWN
    return f"{text} and {more:,} more" if more > 0 else text


def _format_rate(rates: dict[str, Any]) -> str:
    return f"{rates['wer']:.2%} ({rates['wer_low']:.2%} to {rates['wer_high']:.2%})"
