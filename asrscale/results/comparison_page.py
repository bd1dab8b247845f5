"""What a page says of other evaluations: another model beside this one, another normaliser, other seeds."""

from collections.abc import Iterator
from typing import Any

from asrscale.common import html
from asrscale.common.html import Bar, Block, Number
from asrscale.results.beside_text import format_english, format_seeds
from asrscale.results.intervals import rates_by_speaker
from asrscale.results.metrics import METRIC_NAMES, UNITS, Metric, both_metrics
from asrscale.results.page_data import PageData
from asrscale.results.rate_plots import rate_plots
from asrscale.results.tally import NOT_COUNTED, OWN

THIS = "this model"
OTHER = "the other model"

CHANGED_SHOWN = 15  # utterances; the table of all can be sorted by the errors of either model


def comparison_blocks(compared: dict[str, Any], data: PageData, found: dict[str, Any]) -> Iterator[Block]:
    """Yields two models side by side.

    Args:
        compared: An entry of `compared` of `break_down`.
        data: Of the page.
        found: What `break_down` returned.
    """
    metric: Metric = found["metric"]
    if not compared["utterances"]:
        yield html.prose("", [f"No utterance in common; {compared['left_out']:,} were damaged there."])
        return
    yield html.numbers("", [_difference(compared, name) for name in both_metrics(metric)])
    yield _rates_table(compared, data, metric)
    yield from rate_plots(data, [OWN, compared["other"]], metric, [THIS, OTHER])
    for name, groups in compared["by"].items():
        yield _group_differences(name, groups, metric)
        yield _group_table(name, groups, metric)
    yield _changed_table(compared, metric)


def _difference(compared: dict[str, Any], name: Metric) -> Number:
    """Returns the difference of a rate."""
    difference, low, high = (100 * compared[f"{name}_difference{end}"] for end in ("", "_low", "_high"))
    verdict = "the intervals of the difference hold 0: chance alone may make it" if low <= 0 <= high else ""
    better = f"{THIS} is better" if difference < 0 else f"{OTHER} is better"
    return Number(
        f"{METRIC_NAMES[name].capitalize()}, difference",
        f"{difference:+.2f} points",
        f"95 % interval {low:+.2f} to {high:+.2f}, p {compared[f'{name}_p']:.2g}; {verdict or better}",
    )


def _rates_table(compared: dict[str, Any], data: PageData, metric: Metric) -> Block:
    """Returns both rates of both models, on the utterances that both have."""
    other = compared["other"]
    counted = (data.amounts[OWN][:, 0] != NOT_COUNTED) & (data.amounts[other][:, 0] != NOT_COUNTED)
    rows = []
    for model, column in ((THIS, OWN), (OTHER, other)):
        rates = rates_by_speaker(data.amounts[column][counted], data.speakers[counted])
        rows.append([model, *(_rate(rates, name) for name in both_metrics(metric))])
    left_out = compared["left_out"]
    note = f"On the {compared['utterances']:,} utterances that both have; 95 % intervals of each by itself. " + (
        f"{left_out:,} are left out, damaged there. " if left_out else ""
    )
    how = f"Differences resample both together, by {compared['resampled']}; p-values by permutation."
    return html.table("Both models", ["model", *(name.upper() for name in both_metrics(metric))], rows, note=note + how)


def _rate(rates: dict[str, Any], name: Metric) -> str:
    return f"{rates[name]:.2%} ({rates[f'{name}_low']:.2%} to {rates[f'{name}_high']:.2%})"


def _group_differences(name: str, groups: dict[str, Any], metric: Metric) -> Block:
    """Returns a bar for the difference of each group, with its interval."""
    shown = {
        value.strip(): Bar(*(100 * one[f"{metric}_difference{end}"] for end in ("", "_low", "_high")))
        for value, one in groups.items()
    }
    return html.differences(
        f"Difference by {name.replace('_', ' ')}",
        shown,
        unit=f"{metric.upper()} of {THIS} less that of {OTHER}, in points",
        below=f"{THIS} is better",
        above=f"{OTHER} is better",
        by_size=name != "duration",
    )


def _group_table(name: str, groups: dict[str, Any], metric: Metric) -> Block:
    """Returns the differences of the groups as a table: both rates, and the difference with its interval."""
    rows = []
    for value, one in groups.items():
        low, high = (100 * one[f"{metric}_difference_{end}"] for end in ("low", "high"))
        difference = 100 * one[f"{metric}_difference"]
        rates = 100 * one[metric], 100 * one[f"other_{metric}"]
        rows.append([value.strip(), one["utterances"], *rates, f"{difference:+.2f}", f"{low:+.2f} to {high:+.2f}"])
    rate = f"{metric.upper()} %"
    of_models = [f"{rate}, {THIS}", f"{rate}, {OTHER}"]
    header = [name.replace("_", " "), "utterances", *of_models, "difference in points", "95 % interval"]
    return html.table(f"By {name.replace('_', ' ')}", header, rows)


def _changed_table(compared: dict[str, Any], metric: Metric) -> Block:
    """Returns the utterances whose errors changed most."""
    rows = [
        (one["key"], one[f"more_{UNITS[metric]}_edits"], one["aligned"], one["other_aligned"])
        for one in compared["changed"][:CHANGED_SHOWN]
    ]
    header = ["utterance", f"{UNITS[metric]} errors more", THIS, OTHER]
    note = "Below 0 where this model has fewer errors. [said→recognised]"
    return html.table("Changed most", header, rows, note=note, is_wide=True)


def english_table(found: dict[str, Any]) -> Block:
    """Returns the rates of the transcripts as they are in the shards and after another normaliser."""
    english = found["english"]
    metric: Metric = found["metric"]
    both = both_metrics(metric)
    rows = [
        ["as in the shards", *(_rate(found, name) for name in both)],
        ["english", *(_rate(english, name) if name in english else "none" for name in both)],
    ]
    header = ["transcripts", *(name.upper() for name in both)]
    return html.table("After another normaliser", header, rows, note=format_english(english, metric))


def seeds_table(found: dict[str, Any]) -> Block:
    """Returns the rates of the runs of several seeds."""
    seeds = found["seeds"]
    metric: Metric = found["metric"]
    both = both_metrics(metric)
    runs = zip(["this", *seeds["others"]], *(seeds["of_each"][name] for name in both), strict=True)
    rows = [(run, *map("{:.2%}".format, rates)) for run, *rates in runs]
    header = ["run", *(name.upper() for name in both)]
    return html.table("Several seeds", header, rows, note=format_seeds(seeds, metric))
