"""The HTML page of an evaluation: plots of error rates, and players of the worst utterances."""

from typing import Any

from asrscale.common import html
from asrscale.common.html import Block
from asrscale.data import players
from asrscale.data.index import Index
from asrscale.results.breakdown_text import summarise_breakdown
from asrscale.results.metrics import UNITS, Metric


def write_evaluation_page(path: str, title: str, index: Index, found: dict[str, Any]) -> None:
    """Writes a page of what `break_down` found, with players of the worst utterances.

    Raises:
        CliError: It cannot be written.
    """
    metric: Metric = found["metric"]
    worst = found["worst"][: players.PLAYERS]
    captions = {index.keys.index(one["key"]).as_py(): f"{one['key']}: {one['aligned']}" for one in worst}
    sections = {
        "Error rates": [_plot(name, groups, metric) for name, groups in found["by"].items()],
        f"The most {UNITS[metric]} errors": players.players(index, captions),
    }
    html.write_page(path, title, summarise_breakdown(found), sections)


def _plot(name: str, groups: dict[str, Any], metric: Metric) -> Block:
    """Returns a bar for the deciding error rate of each group."""
    units = f"{UNITS[metric]}s"
    percent = {f"{value} ({rates[units]:,} {units})": 100 * rates[metric] for value, rates in groups.items()}
    return html.bars(f"{metric.upper()} % by {name}", percent)
