"""Plots with axes."""

import math
import re

import pytest
from helpers.outline import Outline

from asrscale.common import html
from asrscale.common.html_chart import MAX_POINTS, _log_ticks, _ticks, chart

EVIL = "<script>alert('x')</script> \"&"
AXES = dict(x_label="step", y_label="GiB")


def shown(**lines: object) -> str:
    return html.page("title", "summary", {"section": [chart("c", lines, **AXES)]})


def points_of(page: str) -> list[list[tuple[float, float]]]:
    """The points of each line."""
    lines = re.findall(r'<polyline class="[^"]*" points="([^"]+)"', page)
    return [[tuple(map(float, point.split(","))) for point in line.split()] for line in lines]


def ticks_of(page: str, axis: str) -> list[tuple[float, str]]:
    """Where which text stands along an axis, in percent."""
    [axis_html] = re.findall(rf'<div class="{axis}">(.*?)</div>', page)
    return [(float(at), text) for at, text in re.findall(r"([\d.]+)%\">([^<]+)<", axis_html)]


def test_a_line_lies_where_the_ticks_say() -> None:
    page = shown(up=[(0, 0), (1000, 10), (2000, 20)])
    assert ticks_of(page, "ys") == [(100, "0"), (75, "5"), (50, "10"), (25, "15"), (0, "20")]
    assert ticks_of(page, "xs")[-1] == (100, "2,000")
    assert points_of(page) == [[(0, html.HEIGHT), (html.WIDTH / 2, html.HEIGHT / 2), (html.WIDTH, 0)]]
    assert "step" in Outline(page).text and "GiB" in Outline(page).text
    assert "up at 1,000: 10" in Outline(page).text  # of its dot


def test_factors_are_equal_distances_where_that_is_asked_for() -> None:
    block = chart("c", {"loss": [(0, 100.0), (1, 10.0), (2, 1.0), (3, 0.0)]}, **AXES, is_log=True)
    page = html.page("title", "summary", {"section": [block]})
    [line] = points_of(page)  # 0 has no logarithm
    assert [y for _, y in line] == [0, html.HEIGHT / 2, html.HEIGHT]


def test_a_level_line_goes_from_end_to_end() -> None:
    lines = {"rate": [(0, 2.0), (10, 4.0)], "before": [(0, 1.0), (5, 2.0)]}
    page = html.page("t", "s", {"section": [chart("c", lines, **AXES, level_lines=["before"])]})
    rate, before = points_of(page)
    assert before == [(0, html.HEIGHT / 2), (html.WIDTH, html.HEIGHT / 2)] and rate[-1] == (html.WIDTH, 0)
    assert 'class="line1 level"' in page


def test_of_many_points_the_highest_and_the_lowest_stay() -> None:
    many = [(step, 1.0) for step in range(100_000)]
    many[54_321] = (54_321, 9.0)
    many[77] = (77, 0.5)
    block = chart("c", {"norm": many}, **AXES)
    [line] = points_of(html.page("t", "s", {"section": [block]}))
    assert len(line) <= MAX_POINTS and line == sorted(line)
    heights = [y for _, y in line]
    assert min(heights) == pytest.approx(html.HEIGHT * 0.1) and max(heights) == pytest.approx(html.HEIGHT * 0.95)
    assert not block["lines"][0]["dots"]


def test_nothing_is_drawn_of_nothing() -> None:
    assert chart("c", {"a": [], "b": [(1, math.nan), (2, math.inf)]}, **AXES)["kind"] == ""
    assert chart("c", {"a": [(1, 0.0)]}, **AXES, is_log=True)["kind"] == ""
    assert len(points_of(shown(one=[(0, 0.0)]))) == 1  # a single point has axes too
    assert len(points_of(shown(below=[(0, -3.0), (1, 2.0)]))) == 1


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0, 93, [0, 20, 40, 60, 80, 100]),
        (0, 2e-4, [0, 5e-5, 1e-4, 1.5e-4, 2e-4]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
        (0, 0, [0, 0.2, 0.4, 0.6, 0.8, 1]),
    ],
)
def test_ticks_are_round_numbers_around_all(low: float, high: float, expected: list[float]) -> None:
    ticks = _ticks(low, high)
    assert ticks[0] <= low and ticks[-1] >= high
    if high:
        assert ticks == pytest.approx(expected)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.6, 33, [0.5, 1, 2, 5, 10, 20, 50]),
        (0.002, 900, [0.001, 0.01, 0.1, 1, 10, 100, 1000]),
        (1, 1, [1, 2]),
        (10, 100, [10, 20, 50, 100]),
    ],
)
def test_ticks_of_factors(low: float, high: float, expected: list[float]) -> None:
    assert _log_ticks(low, high) == pytest.approx(expected)


def test_everything_is_escaped() -> None:
    block = chart(EVIL, {EVIL: [(0, 1.0)], "b": [(0, 1.0)]}, x_label=EVIL, y_label=EVIL)
    outline = Outline(html.page("t", "s", {"section": [block]}))
    assert "script" not in outline.tags and outline.text.count(EVIL) == 5  # caption, axes, legend, dot
