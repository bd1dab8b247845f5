"""A plot of an HTML page with axes that have names, units and ticks; page.html draws it."""

import math
from collections.abc import Iterable, Mapping, Sequence

from asrscale.common.html import HEIGHT, WIDTH, Block, Point

MAX_POINTS = 400  # of a line: more do not show
MAX_DOTS = 60  # a line of fewer points has a dot for each, which says its values
TICKS = 5  # about so many on an axis


def chart(
    caption: str,
    lines: Mapping[str, Sequence[Point]],
    *,
    x_label: str,
    y_label: str,
    is_log: bool = False,
    level_lines: Iterable[str] = (),
) -> Block:
    """Returns a plot of lines over a common x axis that begins at 0; nothing where no line has a point.

    Args:
        caption: Above the plot.
        lines: The points of each line by its name, in the order of x; of many, the lowest and the highest are drawn.
        x_label: Name of the x axis, with its unit.
        y_label: Name of the y axis, with its unit.
        is_log: Whether y grows by factors; points that are not above 0 are left out then. Otherwise it begins at 0, or
            at the lowest point below that.
        level_lines: Names of those that are drawn dashed from end to end, at the y of their last point.
    """
    drawn = {name: _visible(points, is_log=is_log) for name, points in lines.items()}
    drawn = {name: points for name, points in drawn.items() if points}
    if not drawn:
        return {"kind": "", "caption": caption}
    right = max(x for points in drawn.values() for x, _ in points) or 1.0
    heights = [y for points in drawn.values() for _, y in points]
    y_ticks = _log_ticks(min(heights), max(heights)) if is_log else _ticks(min(0.0, *heights), max(heights))
    scale = _Scale(right, y_ticks[0], y_ticks[-1], is_log=is_log)
    dashed = set(level_lines)
    return {
        "kind": "chart",
        "caption": caption,
        "x_label": x_label,
        "y_label": y_label,
        "lines": [_line(name, points, scale, is_level=name in dashed) for name, points in drawn.items()],
        "x_ticks": [(100 * x / right, _text(x)) for x in _ticks(0.0, right) if x <= right],
        "y_ticks": [(100 * scale.y(y) / HEIGHT, _text(y)) for y in y_ticks],
    }


class _Scale:
    """From the values of a plot to its units, in which y grows downwards."""

    def __init__(self, right: float, low: float, high: float, *, is_log: bool) -> None:
        self._right = right
        self._transform = math.log10 if is_log else float
        self._low = self._transform(low)
        self._span = self._transform(high) - self._low

    def x(self, value: float) -> float:
        return WIDTH * value / self._right

    def y(self, value: float) -> float:
        return HEIGHT * (1 - (self._transform(value) - self._low) / self._span)


def _visible(points: Sequence[Point], *, is_log: bool) -> list[Point]:
    """Returns the points that are drawn: finite ones, and of many the lowest and the highest of each few."""
    finite = [(x, y) for x, y in points if math.isfinite(y) and (y > 0 or not is_log)]
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


def _line(name: str, points: Sequence[Point], scale: _Scale, *, is_level: bool) -> Block:
    """Returns what the template draws of a line."""
    if is_level:
        y = scale.y(points[-1][1])
        return {"name": name, "path": f"0.0,{y:.1f} {WIDTH:.1f},{y:.1f}", "dots": [], "is_level": True}
    places = [(scale.x(x), scale.y(y)) for x, y in points]
    titles = [f"{name} at {_text(x)}: {_text(y)}" for x, y in points]
    has_dots = len(points) <= MAX_DOTS
    return {
        "name": name,
        "path": " ".join(f"{x:.1f},{y:.1f}" for x, y in places),
        "dots": [(f"{x:.1f}", f"{y:.1f}", title) for (x, y), title in zip(places, titles, strict=True)] * has_dots,
        "is_level": False,
    }


def _ticks(low: float, high: float) -> list[float]:
    """Returns round numbers in even steps of 1, 2 or 5 times a power of ten, from at most `low` to at least `high`."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / TICKS))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= span / TICKS)
    first, last = math.floor(low / step), math.ceil(high / step)
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
