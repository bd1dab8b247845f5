"""Plots with axes."""

import math
import re

import numpy as np
import pytest
from helpers.outline import Outline

from asrscale.common import html
from asrscale.common.html_chart import COLUMNS, MAX_POINTS, Band, _log_ticks, _ticks, chart, histogram

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
    [axis_html] = re.findall(rf'<div class="{axis}" aria-hidden="true">(.*?)</div>', page)
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
    assert "script" not in outline.tags and outline.text.count(EVIL) > 5  # caption, axes, legend, dot, values


def test_a_band_lies_around_its_line() -> None:
    bands = {"rate": [Band(1, 5, 15), Band(2, 10, 20), Band(3, math.nan, 1)]}
    block = chart("c", {"rate": [(1, 10.0), (2, 15.0)]}, **AXES, bands=bands, from_zero=False)
    page = html.page("t", "s", {"section": [block]})
    [band] = re.findall(r'<polygon class="band fill0" points="([^"]+)"', page)
    corners = [tuple(map(float, corner.split(","))) for corner in band.split()]
    assert corners == [(0, 65), (600, 0), (600, 130), (0, 195)]  # of 600 by 260, from 0 to 20
    text = Outline(page).text
    assert "rate at 1: 10 (5 to 15)" in text and "5 to 15" in text
    assert ticks_of(page, "xs")[0] == (0, "1") and ticks_of(page, "xs")[-1] == (100, "2")


def test_a_band_has_the_colour_of_its_line() -> None:
    lines = {"a": [(0, 1.0)], "b": [(0, 1.0)], "c": [(0, 2.0)]}
    page = html.page("t", "s", {"section": [chart("c", lines, **AXES, bands={"c": [Band(0, 1, 3)]})]})
    assert re.findall(r'class="band (fill\d)"', page) == ["fill2"]


def columns_of(page: str) -> dict[str, int]:
    """The count of each column by its range."""
    titles = re.findall(r'<rect class="column fill0"[^>]*><title>([^<]+): ([\d,]+)</title>', page)
    return {name: int(count.replace(",", "")) for name, count in titles}


def test_a_histogram_counts_every_value() -> None:
    values = np.random.default_rng(0).gamma(3, 2, 1_000)
    page = html.page("t", "s", {"section": [histogram("c", values, x_label="seconds")]})
    columns = columns_of(page)
    edges = [0.0, *(float(name.split(" to ")[1]) for name in columns)]
    assert sum(columns.values()) == 1_000 and COLUMNS / 2.5 <= len(columns) <= COLUMNS
    assert list(columns.values()) == np.histogram(values, edges)[0].tolist()
    assert list(columns)[:2] == ["0 to 1", "1 to 2"] and "seconds" in Outline(page).text
    heights = [float(height) for height in re.findall(r'<rect class="column[^>]* height="([\d.]+)"', page)]
    top = ticks_of(page, "ys")[-1][1]
    tallest = max(columns.values()) / float(top.replace(",", "")) * html.HEIGHT
    assert max(heights) == pytest.approx(tallest, abs=0.1)


def test_a_histogram_of_one_value_of_none_and_of_no_numbers() -> None:
    one = columns_of(html.page("t", "s", {"section": [histogram("c", np.array([2.5]), x_label="x")]}))
    assert sum(one.values()) == 1
    assert columns_of(html.page("t", "s", {"section": [histogram("c", np.array([0.0, 0.0]), x_label="x")]}))
    assert histogram("c", np.zeros(0), x_label="x")["kind"] == ""
    assert histogram("c", np.array([math.nan, math.inf]), x_label="x")["kind"] == ""
    assert histogram("c", np.array([1, math.nan]), x_label="x")["caption"] == "c (1 are left out)"


def test_a_plot_is_described_to_those_who_do_not_see_it() -> None:
    text = Outline(shown(up=[(0, 3), (1, 1), (2, 20)])).text
    assert "step against GiB. up: 3 at 0 to 20 at 2; lowest 1 at 1, highest 20 at 2." in text
