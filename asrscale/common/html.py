"""HTML pages of tables, plots and sound, each one file without a script.

page.html is their template. All text is escaped.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import jinja2
import numpy as np
from numpy.typing import NDArray

from asrscale.common.addresses import clean_text
from asrscale.common.errors import CliError

# Part of a page: its `kind`, which is a macro of the template, its `caption`, and what that macro shows.
# A block without a kind shows nothing.
Block: TypeAlias = dict[str, Any]

# A point of a plot: x and y.
Point: TypeAlias = tuple[float, float]

TEMPLATE = Path(__file__).with_name("page.html")

BARS = 20  # that are shown of many
COLUMNS = 24  # of a histogram: each is wide enough for a finger on a phone

# Of a plot, in its own units; a browser stretches it to the page.
WIDTH = 600
HEIGHT = 260


def page(title: str, summary: str, sections: Mapping[str, Iterable[Block]]) -> str:
    """Returns a whole HTML document.

    Args:
        title: Its heading.
        summary: A line below the heading.
        sections: Name of each section to its blocks, which stand beside each other; made by the functions below.
    """
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=_clean)
    template = environment.from_string(TEMPLATE.read_text("utf-8"))
    blocks = {name: list(blocks) for name, blocks in sections.items()}  # which are gone through twice
    return template.render(title=title, summary=summary, sections=blocks, width=WIDTH, height=HEIGHT)


def _clean(value: Any) -> Any:
    """Returns what the template shows of a value: a text without secrets of addresses."""
    return clean_text(value) if type(value) is str else value  # not what is HTML already


def write_page(path: str, title: str, summary: str, sections: Mapping[str, Iterable[Block]]) -> None:
    """Writes `page` to a file.

    Raises:
        CliError: It cannot be written.
    """
    try:
        Path(path).write_text(page(title, summary, sections), "utf-8")
    except OSError as error:
        raise CliError(f"--html {path}: {error.strerror}: give a file that can be written to") from error


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Block:
    """Returns a table; its first column is text."""
    return {"kind": "table", "caption": caption, "header": header, "rows": rows}


# A part of a text: what it says, and what is marked of it: `wrong`, `missing` or nothing.
Part: TypeAlias = tuple[str, str]


def texts(caption: str, rows: Iterable[tuple[str, Sequence[Part]]]) -> Block:
    """Returns texts below each other, each after its label; parts of them may be marked."""
    return {"kind": "texts", "caption": caption, "rows": list(rows)}


def bars(caption: str, values: Mapping[str, int | float]) -> Block:
    """Returns a bar for each of the largest values, and how many more values there are; nothing without values."""
    return {
        "kind": "bars" if values else "",
        "caption": caption,
        "values": Counter(values).most_common(BARS),
        "more": len(values) - BARS,
    }


def curves(caption: str, lines: Mapping[str, Sequence[Point]]) -> Block:
    """Returns one plot of lines, whose axes begin at 0; lines without points are left out."""
    drawn = {name: points for name, points in lines.items() if points}
    right = max((x for points in drawn.values() for x, _ in points), default=1.0)
    top = max((y for points in drawn.values() for _, y in points), default=1.0)
    return {
        "kind": "curves" if drawn else "",
        "caption": caption,
        "paths": {name: _path(points, right, top) for name, points in drawn.items()},
        "right": right,
        "top": top,
    }


def _path(points: Sequence[Point], right: float, top: float) -> str:
    """Returns the points of an SVG polyline, whose y grows downwards."""
    return " ".join(f"{WIDTH * x / right:.1f},{HEIGHT * (1 - y / top):.1f}" for x, y in points)


def histogram(caption: str, values: NDArray[Any]) -> Block:
    """Returns columns that show how often which value occurs, each for an equal range from 0 to the largest."""
    counts, edges = np.histogram(values, COLUMNS, (0, np.max(values)))
    return {"kind": "histogram", "caption": caption, "counts": counts.tolist(), "edges": edges.tolist()}
