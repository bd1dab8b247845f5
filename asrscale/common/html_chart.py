"""A plot of an HTML page with axes that have names, units and ticks; page.html draws it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asrscale.common.html import HEIGHT, WIDTH, Block, Point

MAX_POINTS = 400  # of a line: more do not show
MAX_DOTS = 60  # a line of fewer points has a dot for each, which says its values
TICKS = 5  # about so many on an axis
COLUMNS = 40  # of a histogram at most


class Band(NamedTuple):
    """The interval of a line at an x."""

    x: float
    low: float
    high: float


def chart(
    caption: str,
    lines: Mapping[str, Sequence[Point]],
    *,
    x_label: str,
    y_label: str,
    is_log: bool = False,
    level_lines: Iterable[str] = (),
    bands: Mapping[str, Sequence[Band]] | None = None,
    from_zero: bool = True,
    note: str = "",
) -> Block:
    """Returns a plot of lines over a common x axis; nothing where no line has a point.

    Args:
        caption: Above the plot.
        lines: The points of each line by its name, in the order of x; of many, the lowest and the highest are drawn.
        x_label: Name of the x axis, with its unit.
        y_label: Name of the y axis, with its unit.
        is_log: Whether y grows by factors; points that are not above 0 are left out then. Otherwise it begins at 0, or
            at the lowest point below that.
        level_lines: Names of those that are drawn dashed from end to end, at the y of their last point.
        bands: Intervals of lines, by the names of these, at each of their points.
        from_zero: Whether the x axis begins at 0; otherwise it begins just below the first point.
        note: A line below the caption.
    """
    drawn = {name: _visible(points, is_log=is_log) for name, points in lines.items()}
    drawn = {name: points for name, points in drawn.items() if points}
    if not drawn:
        return {"kind": "", "caption": caption}
    kept = {name: [one for one in of_line if _is_drawn(one)] for name, of_line in (bands or {}).items()}
    scale = _scale(drawn, kept, is_log=is_log, from_zero=from_zero)
    dashed = set(level_lines)
    shown = [_line(name, points, scale, kept.get(name, []), is_level=name in dashed) for name, points in drawn.items()]
    return _plot(caption, scale, x_label, y_label, note) | {
        "lines": shown,
        "columns": [],
        "values": _values(drawn, kept),
        "description": f"{x_label} against {y_label}. {' '.join(_describe(*one) for one in drawn.items())}",
    }


def histogram(
    caption: str, values: NDArray[Any], *, x_label: str, y_label: str = "utterances", note: str = ""
) -> Block:
    """Returns columns that show how often which value occurs, each for an equal round range; nothing without values.

    Args:
        caption: Above the plot.
        values: Numbers from 0 on, of any shape; those that are not finite are left out, and the caption says so.
        x_label: What the values are, with their unit.
        y_label: What is counted.
        note: A line below the caption.
    """
    finite = np.ravel(values)[np.isfinite(np.ravel(values))]
    if not len(finite):
        return {"kind": "", "caption": caption}
    left_out = np.size(values) - len(finite)
    edges = _ticks(0.0, float(np.max(finite)), COLUMNS)
    counts, _ = np.histogram(finite, edges)
    scale = _Scale(edges[0], edges[-1], _ticks(0.0, float(counts.max())), is_log=False)
    named = [(f"{_text(low)} to {_text(high)}", int(n)) for n, (low, high) in zip(counts, pairwise(edges), strict=True)]
    most = max(named, key=lambda one: one[1])
    return _plot(caption + (f" ({left_out:,} are left out)" if left_out else ""), scale, x_label, y_label, note) | {
        "lines": [],
        "columns": [_column(low, high, *one, scale) for one, (low, high) in zip(named, pairwise(edges), strict=True)],
        "values": [("", *one, "") for one in named],
        "description": f"{y_label} by {x_label}: {len(finite):,} in all, most, {most[1]:,}, at {most[0]}.",
    }


class _Scale:
    """From the values of a plot to its units, in which y grows downwards."""

    def __init__(self, left: float, right: float, y_ticks: Sequence[float], *, is_log: bool) -> None:
        self.left = left
        self.right = right
        self.y_ticks = y_ticks
        self._transform = math.log10 if is_log else float
        self._low = self._transform(y_ticks[0])
        self._span = self._transform(y_ticks[-1]) - self._low

    def x(self, value: float) -> float:
        return WIDTH * (value - self.left) / (self.right - self.left)

    def y(self, value: float) -> float:
        return HEIGHT * (1 - (self._transform(value) - self._low) / self._span)


def _scale(
    lines: Mapping[str, Sequence[Point]], bands: Mapping[str, Sequence[Band]], *, is_log: bool, from_zero: bool
) -> _Scale:
    """Returns a scale that all points and bands lie in."""
    places = [x for points in lines.values() for x, _ in points]
    ends = [end for of_line in bands.values() for _, low, high in of_line for end in (low, high)]
    heights = [*(y for points in lines.values() for _, y in points), *(end for end in ends if end > 0 or not is_log)]
    y_ticks = _log_ticks(min(heights), max(heights)) if is_log else _ticks(min(0.0, *heights), max(heights))
    if from_zero or min(places) == max(places):
        return _Scale(min(0.0, *places), max(places) or 1.0, y_ticks, is_log=is_log)
    around = _ticks(min(places), max(places))
    return _Scale(around[0], around[-1], y_ticks, is_log=is_log)


def _plot(caption: str, scale: _Scale, x_label: str, y_label: str, note: str) -> Block:
    """Returns what every plot has: its axes."""
    at_x = [x for x in _ticks(scale.left, scale.right) if scale.left <= x <= scale.right * (1 + 1e-9)]
    return {
        "kind": "chart",
        "caption": caption,
        "note": note,
        "x_label": x_label,
        "y_label": y_label,
        "x_ticks": [(100 * scale.x(x) / WIDTH, _text(x)) for x in at_x],
        "y_ticks": [(100 * scale.y(y) / HEIGHT, _text(y)) for y in scale.y_ticks],
    }


def _visible(points: Sequence[Point], *, is_log: bool) -> list[Point]:
    """Returns the points that are drawn: finite ones, and of many the lowest and the highest of each few."""
    finite = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y) and (y > 0 or not is_log)]
    if len(finite) <= MAX_POINTS:
        return finite
    group = math.ceil(2 * len(finite) / MAX_POINTS)
    kept: list[Point] = []
    for start in range(0, len(finite), group):
        few = finite[start : start + group]
        ends = {min(few, key=_height), max(few, key=_height)}
        kept += sorted(ends)
    return kept


def _height(point: Point) -> float:
    return point[1]


def _is_drawn(band: Band) -> bool:
    return all(map(math.isfinite, band))


def _line(name: str, points: Sequence[Point], scale: _Scale, bands: Sequence[Band], *, is_level: bool) -> Block:
    """Returns what the template draws of a line."""
    if is_level:
        y = scale.y(points[-1][1])
        return {
            "name": name,
            "path": f"0.0,{y:.1f} {WIDTH:.1f},{y:.1f}",
            "dots": [],
            "is_level": True,
            "band": "",
        }
    places = [(scale.x(x), scale.y(y)) for x, y in points]
    intervals = {x: f" ({_text(low)} to {_text(high)})" for x, low, high in bands}
    titles = [f"{name} at {_text(x)}: {_text(y)}{intervals.get(x, '')}" for x, y in points]
    has_dots = len(points) <= MAX_DOTS
    highs = [(scale.x(x), scale.y(high)) for x, _, high in bands]
    lows = [(scale.x(x), scale.y(low)) for x, low, _ in reversed(bands)]
    return {
        "name": name,
        "path": _path(places),
        "dots": [(f"{x:.1f}", f"{y:.1f}", title) for (x, y), title in zip(places, titles, strict=True)] * has_dots,
        "is_level": False,
        "band": _path([*highs, *lows]),
    }


def _path(places: Iterable[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _column(low: float, high: float, name: str, count: int, scale: _Scale) -> tuple[str, str, str, str, str]:
    """Returns x, y, width and height of a column, and its title."""
    top = scale.y(count)
    left, right = scale.x(low), scale.x(high)
    return f"{left:.1f}", f"{top:.1f}", f"{right - left:.1f}", f"{HEIGHT - top:.1f}", f"{name}: {count:,}"


def _values(
    lines: Mapping[str, Sequence[Point]], bands: Mapping[str, Sequence[Band]]
) -> list[tuple[str, str, float | str, str]]:
    """Returns the values of lines that are few: the name of the line, x, y and interval of each point."""
    if sum(map(len, lines.values())) > MAX_DOTS:
        return []
    intervals = {
        (name, x): f"{_text(low)} to {_text(high)}" for name, of_line in bands.items() for x, low, high in of_line
    }
    return [
        (name, _text(x), _text(y), intervals.get((name, x), "")) for name, points in lines.items() for x, y in points
    ]


def _describe(name: str, points: Sequence[Point]) -> str:
    """Returns a line of a plot in words, for those who do not see it."""
    lowest, highest = min(points, key=_height), max(points, key=_height)
    return (
        f"{name}: {_text(points[0][1])} at {_text(points[0][0])} to {_text(points[-1][1])} at {_text(points[-1][0])}; "
        f"lowest {_text(lowest[1])} at {_text(lowest[0])}, highest {_text(highest[1])} at {_text(highest[0])}."
    )


def _ticks(low: float, high: float, number: int = TICKS) -> list[float]:
    """Returns round numbers in even steps of 1, 2 or 5 times a power of ten, from at most `low` to at least `high`."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / number))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= span / number * (1 - 1e-9))
    first, last = math.floor(low / step), math.ceil(high / step * (1 - 1e-12))
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Returns powers of ten, with 2 and 5 times these where they are few, from at most `low` to at least `high`."""
    bottom, top = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1, 2, 5) if high <= 100 * low else (1,)
    marks = [factor * 10.0**power for power in range(bottom, max(top, bottom + 1) + 1) for factor in factors]
    first = max(number for number, mark in enumerate(marks) if mark <= low * (1 + 1e-9))
    last = min(number for number, mark in enumerate(marks) if mark >= high * (1 - 1e-9) and number > first)
    return marks[first : last + 1]


def _text(value: float) -> str:
    """Returns a number as it stands at an axis."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
