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

from asrscale.common.errors import CliError

Block: TypeAlias = dict[str, Any]


TEMPLATE = Path(__file__).with_name("page.html")


BARS = 20  # shown of many


WIDTH, HEIGHT = 600, 260  # of a plot, in its own units


COLUMNS = 24  # of a histogram: each is wide enough for a finger on a phone


def page(title: str, summary: str, sections: Mapping[str, Iterable[Block]]) -> str:
    """A whole HTML document of named sections, whose blocks, made by the functions below, stand beside each other."""
    template = jinja2.Environment(autoescape=True).from_string(TEMPLATE.read_text("utf-8"))
    return template.render(title=title, summary=summary, sections=sections, width=WIDTH, height=HEIGHT)


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Block:
    """A table; its first column is text."""
    return {"kind": "table", "caption": caption, "header": header, "rows": rows}


def bars(caption: str, values: Mapping[str, int | float]) -> Block:
    """A bar for each of the largest values, and how many more there are; nothing where there are none."""
    largest = Counter(values).most_common(BARS)
    return {"kind": "bars" if values else "", "caption": caption, "values": largest, "more": len(values) - BARS}


def curves(caption: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> Block:
    """Lines of (x, y) points in one plot whose axes begin at 0; those without points are left out."""
    drawn = {name: points for name, points in lines.items() if points}
    right, top = (max((point[axis] for points in drawn.values() for point in points), default=1.0) for axis in (0, 1))
    paths = {
        name: " ".join(f"{WIDTH * x / right:.1f},{HEIGHT * (1 - y / top):.1f}" for x, y in points)
        for name, points in drawn.items()
    }
    return {"kind": "curves" if drawn else "", "caption": caption, "paths": paths, "right": right, "top": top}


def histogram(caption: str, values: NDArray[Any]) -> Block:
    """How often which value occurs: a column each for equal ranges from 0 to the largest."""
    counts, edges = np.histogram(values, COLUMNS, (0, np.max(values)))
    return {"kind": "histogram", "caption": caption, "counts": counts.tolist(), "edges": edges.tolist()}


def write_page(path: str, title: str, summary: str, sections: Mapping[str, Iterable[Block]]) -> None:
    """Writes `page` to a file.

    Raises:
        CliError: It cannot be written.
    """
    try:
        Path(path).write_text(page(title, summary, sections), "utf-8")
    except OSError as error:
        raise CliError(f"--html {path}: {error.strerror}: give a file that can be written to") from error
