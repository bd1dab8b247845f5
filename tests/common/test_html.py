"""HTML pages."""

import base64
import hashlib
import math
import re
from pathlib import Path

import numpy as np
import pytest
from helpers.outline import Outline

from asrscale.common import html, html_chart
from asrscale.common.errors import CliError

EVIL = "<script>alert('x')</script> \"&"

# What data may hold: markup, both directions of text, characters without ink, half a character, long words.
HOSTILE = [
    EVIL,
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }} {% for a in b %} javascript:alert(1)",
    "</noscript></td></table></style></script>--><!--",
    "שלום עולם العربية",
    "\u202eright to left\u202c \u2066isolated",
    "bell\x07 null\x00 escape\x1b[31m delete\x7f\u2028",
    "half \ud800 a character",
    "w" * 10_000,
    "many words " * 1_000,
    "e\u0301\u0300 \u200b \ufeff \U0001f600",
]


def rendered(*blocks: html.Block) -> str:
    return html.page("title", "summary", {"section": blocks})


def all_blocks(text: str) -> list[html.Block]:
    """A block of each kind with a text everywhere that one may stand."""
    points = [(0, 1.0), (1, 2.0)]
    return [
        html.numbers(text, [html.Number(text, text, text)]),
        html.prose(text, [text], command=text),
        html.table(text, [text, "b", "c"], [[text, 1234, math.nan], [html.marked([(text, "wrong")]), 0.5, None]]),
        html.table(text, ["a", text], [[text, html.sound(text, b"mp3")]], note=text, is_searchable=True),
        html.bars(text, {text: 1, f"{text}2": html.Bar(2, 1, math.nan)}, unit=text),
        html.texts(text, [(text, [(text, ""), (text, "missing")])]),
        html_chart.chart(text, {text: points, "b": points}, x_label=text, y_label=text, note=text),
        html_chart.histogram(text, np.arange(5), x_label=text, y_label=text, note=text),
    ]


@pytest.mark.parametrize("text", HOSTILE)
def test_whatever_data_hold_is_text(text: str, tmp_path: Path) -> None:
    blocks = all_blocks(text)
    html.write_page(str(tmp_path / "page.html"), text, text, {text: blocks, "a": blocks, "b": blocks})
    page = (tmp_path / "page.html").read_text("utf-8")
    harmless = html.page("t", "s", {"t": all_blocks("t"), "a": all_blocks("t"), "b": all_blocks("t")})
    outline, expected = Outline(page), Outline(harmless)
    assert [tag for tag in outline.tags if tag != "div"] == [tag for tag in expected.tags if tag != "div"]
    names = {name for name, _ in outline.attributes}
    assert names <= {name for name, _ in expected.attributes} | {"class", "tabindex"}
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u2028\u202a-\u202e\u2066-\u2069\ud800-\udfff]", page)
    if text == EVIL:
        assert outline.text.count(EVIL) > 3 * 35 and page.count("<script>") == 1


def test_texts_have_a_direction_of_their_own() -> None:
    page = rendered(*all_blocks("שלום"))
    tags = re.findall(r"<(\w+)([^<>]*)>[^<>]*שלום", page)
    by_page = {tag for tag, attributes in tags if 'dir="auto"' not in attributes}
    by_style = {"bdi", "th", "dt", "dd", "small", "code", "caption"}  # and what is never laid out or stands inside
    assert by_page <= by_style | {"title", "desc", "del", "ins", "noscript", "span", "p"}, by_page
    assert "unicode-bidi: plaintext" in page and page.count('dir="auto"') >= 12


def test_numbers_that_are_none_are_dashes_and_sorted_last() -> None:
    page = rendered(html.table("c", ["a", "b"], [["x", math.nan], ["y", None], ["z", 1.5], ["v", math.inf]]))
    assert re.findall(r'data-value="([^"]*)">\s*([^<]*?)\s*</td>', page) == [
        ("", "\u2013"),
        ("", "\u2013"),
        ("1.5", "1.50"),
        ("inf", "inf"),
    ]


def test_empty_texts_are_empty() -> None:
    outline = Outline(html.page("", "", {"": all_blocks("")}))
    assert outline.tags.count("table") == 4 and outline.tags.count("caption") == 4


def test_a_page_fetches_nothing_and_says_so_to_the_browser() -> None:
    page = rendered(*all_blocks("t"))
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)|@import|url\(|https?:", page)
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    [script] = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in policy and f"script-src 'sha256-{digest}'" in policy
    plain = rendered(html.table("c", ["a"], [["x"]]))
    assert "<script" not in plain and "script-src 'none'" in plain


def test_a_page_can_be_read_out() -> None:
    outline = Outline(html.page("t", "s", {name: all_blocks(name) for name in "abc"}))
    assert outline.tags.count("caption") >= outline.tags.count("table") == 3 * 4
    assert outline.tags.count("figure") == 24 and outline.tags.count("figcaption") == 24 - 6
    images = [value for name, value in outline.attributes if (name, value) == ("role", "img")]
    assert len(images) == 6 and outline.tags.count("desc") == 6 and "main" in outline.tags
    ids = [value for name, value in outline.attributes if name == "id"]
    named = [one for name, value in outline.attributes if name == "aria-labelledby" for one in (value or "").split()]
    assert len(ids) == len(set(ids)) and set(named) <= set(ids)
    links = [value for name, value in outline.attributes if name == "href"]
    assert links == ["#section-1", "#section-2", "#section-3"] and {one.strip("#") for one in links} <= set(ids)


def test_bars_are_in_proportion_and_the_largest_first() -> None:
    many = {f"{number}": 0.5 for number in range(html.BARS)}
    shown = rendered(html.bars("c", {"few": 1, "many": 4, **many}))
    assert re.findall(r'fill0" width="([\d.]+)"', shown)[:3] == ["100.00", "25.00", "12.50"]
    assert shown.index("many") < shown.index("few")
    assert "<summary>2 more</summary>" in shown and "and 2 more" not in shown
    assert "<section" not in rendered(html.bars("none", {}))
    assert 'width="0.00"' in rendered(html.bars("zero", {"a": 0}))
    hundreds = {f"{number:04}": 1 for number in range(html.BARS + html.MORE_BARS + 3)}
    assert "and 3 more" in Outline(rendered(html.bars("c", hundreds))).text
    given = rendered(html.bars("c", {"few": 1, "many": 4}, by_size=False))
    assert given.index("few") < given.index("many")


def test_every_bar_has_its_interval() -> None:
    shown = rendered(html.bars("c", {"a": html.Bar(20, 10, 40), "b": html.Bar(5, 0, 8)}, unit="%"))
    assert re.findall(r'whisker" d="M([\d.]+) 5H([\d.]+)', shown) == [("25.00", "100.00"), ("0.00", "20.00")]
    text = " ".join(Outline(shown).text.split())
    assert "20 10 to 40" in text and "5 0 to 8" in text and "%, with 95 % intervals" in text


def test_bars_of_what_is_no_number_are_empty() -> None:
    shown = rendered(html.bars("c", {"a": math.nan, "b": -1.0, "c": math.inf, "d": 1.0}))
    assert sorted(re.findall(r'fill0" width="([\d.]+)"', shown)) == ["0.00", "0.00", "0.00", "100.00"]


def test_differences_go_from_zero_to_both_sides() -> None:
    values = {"worse": html.Bar(6, 2, 10), "better": html.Bar(-4, -5, 1), "same": html.Bar(0, -2, 2)}
    block = html.differences("c", {**values, "none": html.Bar(math.nan, None, None)}, unit="u", below="b", above="a")
    shown = rendered(block)
    rectangles = re.findall(r'<rect class="([^"]*)"(?: x="([\d.]+)")? width="([\d.]+)"', shown)
    left, span = -5, 15  # of the axis, to the ends of the intervals
    zero_at = 100 * -left / span
    expected = [("fill1", zero_at, 40.0), ("fill1 pale", zero_at, 0.0), ("fill0 pale", zero_at - 80 / 3, 80 / 3)]
    drawn = [(name, float(x), float(width)) for name, x, width in rectangles]
    for found, (name, x, width) in zip(drawn[:3], expected, strict=True):
        assert found == (name, pytest.approx(x, abs=0.01), pytest.approx(width, abs=0.01))
    assert drawn[3][2] == 0 and shown.count(f'd="M{zero_at:.2f} -3v16"') == 4
    text = " ".join(Outline(shown).text.split())
    assert "worse +6.00 +2.00 to +10.00 same 0.00 -2.00 to +2.00 better -4.00 -5.00 to +1.00 none \N{EN DASH}" in text
    assert "u, with 95 % intervals; pale: the interval holds 0" in text


def test_columns_of_numbers_are_to_the_right() -> None:
    block = html.table("c", ["a", "b", "c", "d"], [["x", 1, "12.5%", "text"], ["y", None, "-3", "7"]])
    assert block["is_number"] == [False, True, True, False]
    assert html.table("c", ["a", "b"], [])["is_number"] == [False, False]


def test_a_long_text_scrolls_and_is_whole() -> None:
    text = "word " * 2_000
    page = rendered(html.table("c", ["a"], [[html.marked([(text, "")])], [html.marked([("short", "")])]]))
    assert page.count('class="long" tabindex="0"') == 1 and text in page


def test_a_page_is_written_or_its_flag_is_named(tmp_path: Path) -> None:
    blocks = {"section": [html.table("caption", ["header"], [["caf\u00e9"]])]}
    path = tmp_path / "page.html"
    html.write_page(str(path), "title", "summary", blocks)
    assert path.read_text("utf-8") == html.page("title", "summary", blocks)
    with pytest.raises(CliError, match=r"^--html .*absent/page\.html: No such file or directory: give a file"):
        html.write_page(str(tmp_path / "absent" / "page.html"), "title", "summary", blocks)


def test_parts_of_a_text_are_marked() -> None:
    parts = [("a ", ""), ("dog", "missing"), ("bog", "wrong")]
    shown = rendered(html.texts("c", [("reference", [("a dog", "")]), ("step", parts)]))
    assert "<del>dog</del><ins>bog</ins>" in shown and '<dd dir="auto">a dog</dd>' in shown


def test_blocks_may_come_one_by_one() -> None:
    blocks = [html.texts(name, [("label", [("text", "")])]) for name in ("first", "second")]
    assert html.page("t", "s", {"section": iter(blocks)}) == html.page("t", "s", {"section": blocks})


def test_addresses_are_without_passwords() -> None:
    page = rendered(*all_blocks("s3://user:secret@bucket/x"))
    assert "secret" not in page and "bucket/x" in page
