"""The HTML page of an evaluation: plots of error rates, and players of the worst utterances."""

from collections.abc import Iterator
from typing import Any

from asrscale.common import html
from asrscale.common.html import Block
from asrscale.data import players
from asrscale.data.index import Index
from asrscale.results.beside_text import format_difference, format_seeds
from asrscale.results.breakdown_text import summarise_breakdown
from asrscale.results.metrics import UNITS, Metric, both_metrics


def write_evaluation_page(path: str, title: str, index: Index, found: dict[str, Any]) -> None:
    """Writes a page of what `break_down` found, with players of the worst utterances.

    Raises:
        CliError: It cannot be written.
    """
    metric: Metric = found["metric"]
    worst = found["worst"][: players.PLAYERS]
    captions = {index.keys.index(one["key"]).as_py(): f"{one['key']}: {one['aligned']}" for one in worst}
    sections = {
        "Error rates": [
            *_beside_tables(found),
            *(_plot(name, groups, metric) for name, groups in found["by"].items()),
        ],
        f"The most {UNITS[metric]} errors": players.players(index, captions),
    }
    html.write_page(path, title, summarise_breakdown(found), sections)


def _beside_tables(found: dict[str, Any]) -> Iterator[Block]:
    """Yields tables of what was counted beside the model's own errors: after another normaliser, of other models."""
    metric: Metric = found["metric"]
    both = both_metrics(metric)
    if "english" in found:
        english = found["english"]
        of_shards = [f"{found[name]:.2%}" for name in both]
        of_english = [f"{english[name]:.2%}" if name in english else "none" for name in both]
        header = ["transcripts", *(name.upper() for name in both)]
        yield html.table(english["normaliser"], header, [("as in the shards", *of_shards), ("english", *of_english)])
    for compared in found.get("compared", []):
        changed = [
            (one["key"], one["more_word_edits"], one["more_character_edits"], one["aligned"], one["other_aligned"])
            for one in compared["changed"]
        ]
        header = ["changed most", "word errors more", "character errors more", "this model", "the other"]
        yield html.table(format_difference(compared, metric), header, changed)
    if "seeds" in found:
        seeds = found["seeds"]
        runs = zip(["this", *seeds["others"]], *(seeds["of_each"][name] for name in both), strict=True)
        header = ["run", *(name.upper() for name in both)]
        yield html.table(
            format_seeds(seeds, metric), header, [(run, *map("{:.2%}".format, rates)) for run, *rates in runs]
        )


def _plot(name: str, groups: dict[str, Any], metric: Metric) -> Block:
    """Returns a bar for the deciding error rate of each group."""
    units = f"{UNITS[metric]}s"
    percent = {f"{value} ({rates[units]:,} {units})": 100 * rates[metric] for value, rates in groups.items()}
    return html.bars(f"{metric.upper()} % by {name}", percent)
