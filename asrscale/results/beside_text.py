"""What an evaluation counted beside the model's own errors, as text: another normaliser, other models, other seeds."""

from collections.abc import Iterator
from typing import Any

from asrscale.results.metrics import UNITS, Metric, both_metrics

GROUPS_SHOWN = 6  # of each way to group
CHANGED_SHOWN = 5  # utterances that changed most


def format_beside(found: dict[str, Any]) -> Iterator[str]:
    """Yields a line for the rates after another normaliser, some for each other model, and one for several seeds."""
    metric: Metric = found["metric"]
    if "english" in found:
        yield f"  {format_english(found['english'], metric)}"
    for compared in found.get("compared", []):
        yield f"  {format_difference(compared, metric)}"
        yield from _format_groups(compared, metric)
        yield from _format_changed(compared, metric)
    if "seeds" in found:
        yield f"  {format_seeds(found['seeds'], metric)}"


def format_english(english: dict[str, Any], metric: Metric) -> str:
    """Returns the rates after Whisper's English normaliser, and what that is, as one line."""
    left_out = english["left_out"]
    ending = f"; {left_out:,} utterances left out, of whose references it leaves nothing" if left_out else ""
    if not english["utterances"]:
        return f"english: {english['normaliser']}{ending}"
    rates = ", ".join(
        f"{name.upper()} {english[name]:.2%} ({english[f'{name}_low']:.2%} to {english[f'{name}_high']:.2%})"
        for name in both_metrics(metric)
    )
    return f"english: {rates}; {english['normaliser']}{ending}"


def format_difference(compared: dict[str, Any], metric: Metric) -> str:
    """Returns how a model differs from another as one line; differences are in points, below 0 where it is better."""
    left_out = f"; {compared['left_out']:,} utterances left out, damaged there" if compared["left_out"] else ""
    if not compared["utterances"]:
        return f"compared with {compared['other']}: no utterance in common{left_out}"
    parts = [_format_metric(compared, name) for name in both_metrics(metric)]
    return (
        f"compared with {compared['other']}: {'; '.join(parts)}; 95 % intervals of resampled {compared['resampled']}, "
        f"p-values by permutation{left_out}"
    )


def _format_metric(compared: dict[str, Any], name: Metric) -> str:
    rates = f"{name.upper()} {compared[name]:.2%}, there {compared[f'other_{name}']:.2%}"
    return f"{rates}, {format_points(compared, name)}"


def format_points(compared: dict[str, Any], name: Metric) -> str:
    """Returns a difference in points with its interval and p-value, such as -1.20 points (-1.90 to -0.50, p 0.001)."""
    difference, low, high = (100 * compared[f"{name}_difference{end}"] for end in ("", "_low", "_high"))
    return f"{difference:+.2f} points ({low:+.2f} to {high:+.2f}, p {compared[f'{name}_p']:.2g})"


def _format_groups(compared: dict[str, Any], metric: Metric) -> Iterator[str]:
    """Yields for each way to group the differences in the groups of the most utterances."""
    for name, groups in compared.get("by", {}).items():
        largest = sorted(groups, key=lambda value: -groups[value]["utterances"])[:GROUPS_SHOWN]
        shown = [f"{value.strip()} {format_points(groups[value], metric)}" for value in groups if value in largest]
        more = f" and {len(groups) - GROUPS_SHOWN:,} more" if len(groups) > GROUPS_SHOWN else ""
        yield f"    by {name}: {', '.join(shown)}{more}"


def _format_changed(compared: dict[str, Any], metric: Metric) -> Iterator[str]:
    """Yields the utterances whose errors changed most."""
    unit = UNITS[metric]
    for one in compared["changed"][:CHANGED_SHOWN]:
        change = f"{one[f'more_{unit}_edits']:+} {unit} errors"
        yield f"    {one['key']}: {change}: {one['aligned']}; there {one['other_aligned']}"


def format_seeds(seeds: dict[str, Any], metric: Metric) -> str:
    """Returns mean and scatter of the rates of several seeds as one line."""
    parts = [
        f"{name.upper()} {seeds[name]['mean']:.2%} ± {100 * seeds[name]['standard_deviation']:.2f} points "
        f"({seeds[name]['lowest']:.2%} to {seeds[name]['highest']:.2%})"
        for name in both_metrics(metric)
    ]
    left_out = f"; {seeds['left_out']:,} utterances left out, damaged in some" if seeds["left_out"] else ""
    return f"{seeds['runs']} seeds: {', '.join(parts)}: mean ± standard deviation, lowest to highest{left_out}"
