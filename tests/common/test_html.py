"""HTML pages."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.outline import Outline

from asrscale.common import html
from asrscale.common.errors import CliError
from asrscale.data import players

EVIL = "<script>alert('x')</script> \"&"


def sound() -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, 0.3 * np.sin(np.arange(8_000) / 8), 16_000, format="FLAC")
    return buffer.getvalue()


def rendered(*blocks: html.Block) -> str:
    return html.page("title", "summary", {"section": blocks})


def test_everything_is_escaped() -> None:
    blocks = [
        html.table(EVIL, [EVIL], [[EVIL, 1234, 0.5]]),
        html.bars(EVIL, {EVIL: 1}),
        html.histogram(EVIL, np.arange(5)),
        players.player(EVIL, sound()),
    ]
    outline = Outline(html.page(EVIL, EVIL, {EVIL: blocks}))
    assert "script" not in outline.tags
    assert outline.text.count(EVIL) == 11
    assert all("script" not in (value or "") for _, value in outline.attributes)
    assert "1,234" in outline.text
    assert "0.50" in outline.text


def test_bars_are_in_proportion_and_the_largest_first() -> None:
    shown = rendered(html.bars("c", {"few": 1, "many": 4, **{f"{number}": 0.5 for number in range(html.BARS)}}))
    assert re.findall(r"width:([\d.]+)%", shown)[:3] == ["100.0", "25.0", "12.5"]
    assert shown.index("many") < shown.index("few")
    assert "and 2 more" in shown
    assert "<section" not in rendered(html.bars("none", {}))
    assert "width:0.0%" in rendered(html.bars("zero", {"a": 0}))


def test_a_histogram_counts_every_value() -> None:
    values = np.random.default_rng(0).gamma(3, 2, 1_000)
    counts = re.findall(r": ([\d,]+)\"", rendered(html.histogram("c", values)))
    assert len(counts) == html.COLUMNS
    assert sum(int(count.replace(",", "")) for count in counts) == 1_000


def test_curves_reach_from_the_origin_to_the_ends_of_the_axes() -> None:
    shown = rendered(html.curves("c", {"up": [(0, 0), (5, 2)], "flat": [(0, 1), (10, 1)], "absent": []}))
    up, flat = re.findall(r'points="([^"]+)"', shown)
    assert up == f"0.0,{html.HEIGHT:.1f} {html.WIDTH / 2:.1f},0.0"
    assert flat == f"0.0,{html.HEIGHT / 2:.1f} {html.WIDTH:.1f},{html.HEIGHT / 2:.1f}"
    assert "absent" not in shown
    assert "<section" not in rendered(html.curves("none", {"absent": []}))


def test_a_page_is_written_or_its_flag_is_named(tmp_path: Path) -> None:
    blocks = {"section": [html.table("caption", ["header"], [["caf\u00e9"]])]}
    path = tmp_path / "page.html"
    html.write_page(str(path), "title", "summary", blocks)
    assert path.read_text("utf-8") == html.page("title", "summary", blocks)
    with pytest.raises(CliError, match=r"^--html .*absent/page\.html: No such file or directory: give a file"):
        html.write_page(str(tmp_path / "absent" / "page.html"), "title", "summary", blocks)


def test_parts_of_a_text_are_marked_and_escaped() -> None:
    shown = rendered(html.texts(EVIL, [("reference", [("a dog", "")]), (EVIL, [("a ", ""), (EVIL, "wrong")])]))
    outline = Outline(shown)
    assert "script" not in outline.tags and outline.text.count(EVIL) == 3
    assert shown.count('<span class="wrong">') == 1 and "<dd>a dog" in shown


def test_blocks_may_come_one_by_one() -> None:
    blocks = [html.texts(name, [("label", [("text", "")])]) for name in ("first", "second")]
    assert html.page("t", "s", {"section": iter(blocks)}) == html.page("t", "s", {"section": blocks})
