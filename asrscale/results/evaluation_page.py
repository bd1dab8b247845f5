"""The HTML page of an evaluation: plots of error rates, and the worst utterances to listen to."""

from typing import Any

from asrscale.common import html
from asrscale.data import players
from asrscale.data.index import Index
from asrscale.results.breakdown import format_breakdown


def write_evaluation_page(path: str, title: str, index: Index, found: dict[str, Any]) -> None:
    """Writes a page of what `break_down` found, with players of the worst utterances.

    Raises:
        CliError: It cannot be written.
    """
    rates = []
    for name, groups in found["by"].items():
        percent = {f"{value} ({g['words']:,} words)": 100 * g["wer"] for value, g in groups.items()}
        rates.append(html.bars(f"WER % by {name}", percent))
    worst = found["worst"][: players.PLAYERS]
    captions = {index.keys.index(one["key"]).as_py(): "{key}: {aligned}".format(**one) for one in worst}
    sections = {"Error rates": rates, "The most word errors": players.players(index, captions)}
    html.write_page(path, title, format_breakdown(found).splitlines()[0], sections)
