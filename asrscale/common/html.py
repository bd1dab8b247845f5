r"""HTML pages of numbers, tables, plots and sound, each one file that fetches nothing.

page.html is their template, page.css their look. page.js sorts and searches tables and makes a player when it is asked
for; a page without such tables has no script. All text is escaped, and characters that are invisible or turn the
direction of text are shown as `\x1b`.
"""

import base64
import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jinja2
from markupsafe import Markup

from asrscale.common.addresses import clean_text
from asrscale.common.errors import CliError
from asrscale.common.terminal import printable

# Part of a page: its `kind`, which is a macro of the template, its `caption`, and what that macro shows.
# A block without a kind shows nothing.
Block: TypeAlias = dict[str, Any]

# A point of a plot: x and y.
Point: TypeAlias = tuple[float, float]

# Of a table: a number, a text, nothing, or what `marked` and `sound` return.
Cell: TypeAlias = str | int | float | Block | None

_HERE = Path(__file__).parent
TEMPLATE = _HERE / "page.html"
STYLE = _HERE / "page.css"
SCRIPT = _HERE / "page.js"

BARS = 20  # that are shown of many; others come to light by a click
MORE_BARS = 500  # of these others: a page of a thousand speakers stays one that a browser opens
LONG_TEXT = 1_000  # characters of a cell that scrolls: a page of texts of any length stays readable
WIDE_TABLE = 5  # columns: one of more has the whole width of the page

# Of a plot, in its own units; a browser stretches it to the page.
WIDTH = 600
HEIGHT = 260

_NUMBER = re.compile(r"[-+]?\d[\d.,]*( ?\S{1,3})?|-?|none")


def page(title: str, summary: str, sections: Mapping[str, Iterable[Block]]) -> str:
    """Returns a whole HTML document.

    Args:
        title: Its heading.
        summary: A line below the heading.
        sections: Name of each section to its blocks, which stand beside each other; made by the functions below and by
            `html_chart`.
    """
    blocks = {name: [block for block in blocks if block["kind"]] for name, blocks in sections.items()}
    shown = {name: of_section for name, of_section in blocks.items() if of_section}
    has_script = any(block.get("has_script") for of_section in shown.values() for block in of_section)
    script = SCRIPT.read_text("utf-8") if has_script else ""
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=_clean)
    template = environment.from_string(TEMPLATE.read_text("utf-8"))
    return template.render(
        title=title,
        summary=summary,
        sections=shown,
        width=WIDTH,
        height=HEIGHT,
        long_text=LONG_TEXT,
        style=Markup(STYLE.read_text("utf-8")),  # our own files
        script=Markup(script),
        script_source=_source_of(script),
    )


def _source_of(script: str) -> Markup:
    """Returns what a Content-Security-Policy names a script by, or that there is none."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Markup("'sha256-{}'").format(digest) if script else Markup("'none'")


def _clean(value: Any) -> Any:
    """Returns what the template shows of a value: a text without secrets of addresses and invisible characters."""
    return printable(clean_text(value)) if type(value) is str else value  # not what is HTML already


def write_page(path: str, title: str, summary: str, sections: Mapping[str, Iterable[Block]]) -> None:
    """Writes `page` to a file.

    Raises:
        CliError: It cannot be written.
    """
    try:
        Path(path).write_text(page(title, summary, sections), "utf-8")
    except OSError as error:
        raise CliError(f"--html {path}: {error.strerror}: give a file that can be written to") from error


def counted(number: int, noun: str) -> str:
    """Returns how many there are of what a noun says."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


class Number(NamedTuple):
    """A number that a page begins with: what it is, its value as text, and a line about it."""

    name: str
    value: str
    note: str = ""


def numbers(caption: str, shown: Iterable[Number]) -> Block:
    """Returns large numbers beside each other, which are what a page is about."""
    return {"kind": "numbers", "caption": caption, "numbers": list(shown), "is_wide": True}


def prose(caption: str, paragraphs: Iterable[str], *, command: str = "") -> Block:
    """Returns sentences below each other, and a command to copy."""
    return {"kind": "prose", "caption": caption, "paragraphs": list(paragraphs), "command": command, "is_wide": True}


def table(
    caption: str,
    header: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    note: str = "",
    is_searchable: bool = False,
    is_wide: bool = False,
) -> Block:
    """Returns a table; the first cell of a row names it. Columns of numbers are aligned to the right.

    Args:
        caption: Above the table.
        header: Names of the columns.
        rows: Their cells. A float that is no number is shown as a dash.
        note: A line below the caption.
        is_searchable: Whether its rows can be searched, and sorted by each column.
        is_wide: Whether it has the whole width of the page; one of many columns has it anyway.
    """
    listed = [list(row) for row in rows]
    has_sound = any(_is_sound(cell) for row in listed for cell in row)
    columns = list(zip(*listed, strict=True)) or [()] * len(header)
    is_number = [place > 0 and bool(cells) and all(map(_is_number, cells)) for place, cells in enumerate(columns)]
    return {
        "kind": "table",
        "caption": caption,
        "note": note,
        "header": header,
        "rows": listed,
        "is_number": is_number,
        "is_searchable": is_searchable,
        "has_script": is_searchable or has_sound,
        "is_wide": is_wide or is_searchable or len(header) > WIDE_TABLE,
    }


def _is_sound(cell: Cell) -> bool:
    return isinstance(cell, dict) and cell["kind"] == "sound"


def _is_number(cell: Cell) -> bool:
    """Whether a cell is aligned as a number is."""
    if isinstance(cell, str):
        return _NUMBER.fullmatch(cell) is not None
    return not isinstance(cell, dict)


# A part of a text: what it says, and what is marked of it: `wrong`, `missing` or nothing.
Part: TypeAlias = tuple[str, str]


def marked(parts: Iterable[Part]) -> Block:
    """Returns a cell of a text of which parts are marked."""
    listed = list(parts)
    return {"kind": "marked", "parts": listed, "length": sum(len(text) for text, _ in listed)}


def sound(name: str, mp3: bytes) -> Block:
    """Returns a cell with a player of a recording.

    It stands in a <noscript>, of which page.js makes a player when it is asked for: with two thousand players a page
    opens in 4.5 s and takes 660 MB of memory, with two thousand buttons in 1.8 s and 390 MB.
    """
    return {"kind": "sound", "name": name, "mp3": Markup(base64.b64encode(mp3).decode())}


def texts(caption: str, rows: Iterable[tuple[str, Sequence[Part]]]) -> Block:
    """Returns texts below each other, each after its label; parts of them may be marked."""
    return {"kind": "texts", "caption": caption, "rows": list(rows)}


class Bar(NamedTuple):
    """A bar: how long it is, and the ends of its interval, where it has one."""

    value: float
    low: float | None = None
    high: float | None = None


def bars(caption: str, values: Mapping[str, float | Bar], *, unit: str = "", by_size: bool = True) -> Block:
    """Returns a bar for each of some values, the largest first; nothing without values.

    Args:
        caption: Above the bars.
        values: By their names.
        unit: Of the values, as it stands at the axis.
        by_size: Whether the largest comes first; otherwise they are in the order given.
    """
    given = {name: value if isinstance(value, Bar) else Bar(value) for name, value in values.items()}
    ends = [end for bar in given.values() for end in (bar.value, bar.high) if end is not None and math.isfinite(end)]
    largest = max([end for end in ends if end > 0], default=1.0)
    drawn = {name: _from_left(bar, largest) for name, bar in given.items()}
    return _bars(caption, given, drawn, unit=unit, by_size=by_size)


def differences(
    caption: str, values: Mapping[str, Bar], *, unit: str, below: str, above: str, by_size: bool = True
) -> Block:
    """Returns a bar from 0 on for each of some differences, pale where its interval holds 0; as wide as the page.

    Args:
        caption: Above the bars.
        values: By their names.
        unit: Of the values, as it stands at the axis.
        below: What a difference below 0 says, whose bar goes to the left.
        above: What one above 0 says.
        by_size: Whether the largest comes first; otherwise they are in the order given.
    """
    ends = [end for bar in values.values() for end in _finite(bar)]
    left, right = min([0.0, *ends]), max([0.0, *ends])
    drawn = {name: _from_zero(bar, left, (right - left) or 1.0) for name, bar in values.items()}
    block = _bars(caption, values, drawn, unit=unit, by_size=by_size)
    return block | {"meanings": [below, above], "zero_at": _percent(0.0, left, right - left or 1.0), "is_wide": True}


class _DrawnBar(NamedTuple):
    """A bar as the template draws it: its places in percent of the axis, its number and interval as they stand there.

    `fill` is a colour of page.css.
    """

    value: float | str
    interval: tuple[float | str, float | str] | None
    start: float
    length: float
    low_at: float
    high_at: float
    fill: int = 0
    is_pale: bool = False


def _bars(
    caption: str, values: Mapping[str, Bar], drawn: Mapping[str, _DrawnBar], *, unit: str, by_size: bool
) -> Block:
    order = sorted(values, key=lambda name: _order(values[name].value)) if by_size else list(values)
    rows = [(name, drawn[name]) for name in order]
    return {
        "kind": "bars" if rows else "",
        "caption": caption,
        "unit": unit,
        "has_intervals": any(bar.low is not None for bar in values.values()),
        "rows": rows[:BARS],
        "others": rows[BARS : BARS + MORE_BARS],
        "more": len(rows) - BARS - MORE_BARS,
        "meanings": [],
        "zero_at": None,
    }


def _from_left(bar: Bar, largest: float) -> _DrawnBar:
    """Returns a bar from 0 at the left; nothing is drawn of what is no number, or below 0."""
    length, low_at, high_at = (100 * max(0.0, end) / largest for end in _finite(bar))
    interval = None if bar.low is None or bar.high is None else (bar.low, bar.high)
    return _DrawnBar(bar.value, interval, 0.0, length, low_at, high_at)


def _from_zero(bar: Bar, left: float, span: float) -> _DrawnBar:
    """Returns a bar from 0 on, on an axis of some span; nothing is drawn of what is no number."""
    end, low_at, high_at = (_percent(value, left, span) for value in _finite(bar))
    zero_at = _percent(0.0, left, span)
    interval = None if bar.low is None or bar.high is None else (_signed(bar.low), _signed(bar.high))
    holds_zero = bar.low is not None and bar.high is not None and bar.low <= 0 <= bar.high
    return _DrawnBar(
        value=_signed(bar.value),
        interval=interval,
        start=min(zero_at, end),
        length=abs(end - zero_at),
        low_at=low_at,
        high_at=high_at,
        fill=0 if bar.value < 0 else 1,
        is_pale=holds_zero,
    )


def _finite(bar: Bar) -> list[float]:
    """Returns value and ends of a bar, 0 in place of what is no number."""
    return [end if end is not None and math.isfinite(end) else 0.0 for end in bar]


def _percent(value: float, left: float, span: float) -> float:
    return 100 * (value - left) / span


def _signed(value: float) -> str:
    if not math.isfinite(value):
        return "\N{EN DASH}"
    return f"{value:+,.2f}" if abs(value) >= 0.005 else "0.00"


def _order(value: float) -> float:
    """Returns what the largest comes first by, and what is no number last."""
    return math.inf if math.isnan(value) else -value
