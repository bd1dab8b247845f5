"""Pages in a real browser: sorting, searching, playing, and what the policy of a page forbids."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import REPOSITORY

from asrscale.common import html, html_chart

sys.path.insert(0, str(REPOSITORY / "docs"))

import browser

pytestmark = pytest.mark.skipif(browser.find_browser() is None, reason=browser.INSTALL)

LONG = "w" * 10_000
NAMES = ["Ärger", "zwei", "<b>bold</b>", "שלום עולם", LONG]
ERRORS = [3, None, 20, 1, float("nan")]


def recording() -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, 0.1 * np.sin(np.arange(16_000) / 9), 16_000, format="MP3")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with blocks of each kind, whose texts are hostile to its layout."""
    rows = [
        [name, html.sound(name, recording()), errors, html.marked([(f"text {name}", "wrong")])]
        for name, errors in zip(NAMES, ERRORS, strict=True)
    ]
    lines = {LONG: [(0.0, 1.0), (1.0, 2.0)], "short": [(0.0, 2.0)]}
    sections = {
        LONG[:300]: [html.numbers(LONG, [html.Number(LONG, LONG, LONG)] * 3)],
        "table": [html.table("utterances", ["name", "sound", "errors", "text"], rows, is_searchable=True)],
        "others": [
            html.differences(
                LONG, {LONG: html.Bar(-2, -3, 1), "b": html.Bar(1, 0, 2)}, unit=LONG, below=LONG, above="a"
            ),
            html.bars(LONG, {LONG: html.Bar(2, 1, 3), "b": html.Bar(1, 0, 2)}, unit=LONG),
            html_chart.chart(LONG, lines, x_label=LONG, y_label=LONG),
            html.table(LONG, [LONG, "b", "c", "d", "e", "f"], [[LONG, 1, 2, 3, LONG, 1e300]]),
            html.prose(LONG, [LONG], command=LONG),
            html.texts(LONG, [(LONG, [(LONG, "missing")])]),
        ],
    }
    path = tmp_path_factory.mktemp("page") / "page.html"
    html.write_page(str(path), LONG, LONG, sections)
    return path


@pytest.fixture(scope="module")
def opened() -> Iterator[browser.Page]:
    with browser.open_page() as page:
        yield page


@pytest.fixture
def page(opened: browser.Page, file: Path) -> browser.Page:
    opened.show(file, width=1600)
    return opened


def names(page: browser.Page) -> list[str]:
    """The first cells of the rows that are shown, in their order."""
    shown = "[...document.querySelectorAll('table[data-searchable] tbody tr')].filter((row) => !row.hidden)"
    found: list[str] = page.run(f"{shown}.map((row) => row.cells[0].textContent)")
    return found


def click(page: browser.Page, column: int) -> str | None:
    """Clicks on the header of a column; returns its aria-sort."""
    header = f"document.querySelectorAll('table[data-searchable] th')[{column}]"
    order: str | None = page.run(f"{header}.querySelector('button').click(); {header}.getAttribute('aria-sort')")
    return order


def test_rows_are_sorted_by_numbers_and_by_text(page: browser.Page) -> None:
    assert names(page) == NAMES
    assert click(page, 2) == "descending"
    assert names(page) == ["<b>bold</b>", "Ärger", "שלום עולם", "zwei", LONG]  # what is no number comes last
    assert click(page, 2) == "ascending"
    assert names(page) == ["שלום עולם", "Ärger", "<b>bold</b>", "zwei", LONG]
    assert click(page, 0) == "ascending"
    assert names(page)[0] == "<b>bold</b>" and names(page).index("Ärger") < names(page).index("zwei")
    assert page.run("document.querySelectorAll('[aria-sort]').length") == 1
    assert page.run("document.querySelectorAll('table[data-searchable] th')[1].querySelector('button')") is None


def search(page: browser.Page, text: str) -> str:
    """Types into the search field; returns what it says of the rows."""
    field = "document.querySelector('input[type=search]')"
    page.run(f"{field}.value = {text!r}; {field}.dispatchEvent(new Event('input'))")
    said: str = page.run("document.querySelector('[role=status]').textContent")
    return said


def test_rows_are_searched(page: browser.Page) -> None:
    assert search(page, "ärger TEXT") == "1 of 5 rows" and names(page) == ["Ärger"]
    assert search(page, "עולם") == "1 of 5 rows"
    assert search(page, "<b>") == "1 of 5 rows"
    assert search(page, "text") == "5 of 5 rows"
    assert search(page, "//uQx") == "0 of 5 rows" and names(page) == []  # the letters of the recordings are no text
    assert search(page, "") == "" and len(names(page)) == 5


def test_the_keyboard_suffices(page: browser.Page) -> None:
    page.run("document.querySelector('input[type=search]').focus()")
    pressed = 0
    while page.run("document.activeElement.tagName") != "BUTTON" and pressed < 5:
        page.press("Tab", 9)
        pressed += 1
    assert page.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press("Enter", 13)
    assert page.run("document.activeElement.parentElement.getAttribute('aria-sort')") == "ascending"


def test_a_recording_is_played_when_it_is_asked_for(page: browser.Page) -> None:
    assert page.run("document.querySelectorAll('audio').length") == 0
    labels = page.run("[...document.querySelectorAll('.sound button')].map((button) => button.ariaLabel)")
    assert labels == [f"play {name}" for name in NAMES]
    page.run("document.querySelectorAll('.sound button')[2].click()")
    [label] = page.run("[...document.querySelectorAll('audio')].map((audio) => audio.ariaLabel)")
    assert label == "recording <b>bold</b>"
    seconds = page.run(
        "new Promise((done) => { const audio = document.querySelector('audio');"
        "if (audio.readyState) done(audio.duration); audio.onloadedmetadata = () => done(audio.duration);"
        "audio.onerror = () => done('error') })"
    )
    assert seconds == pytest.approx(1, abs=0.12)


def test_without_scripts_all_players_are_there(opened: browser.Page, file: Path) -> None:
    opened.allow_scripts(False)
    opened.show(file, width=1600)
    opened.allow_scripts(True)  # of ours; those of the page had their chance
    assert opened.run("document.querySelectorAll('audio').length") == len(NAMES)
    assert opened.run("document.querySelectorAll('button, input').length") == 0


def test_the_policy_forbids_the_network_and_other_scripts(page: browser.Page) -> None:
    forbidden = page.run(
        "new Promise((done) => { const found = [];"
        "document.addEventListener('securitypolicyviolation', (event) => found.push(event.effectiveDirective));"
        "const script = document.createElement('script'); script.textContent = 'window.ran = true';"
        "const image = document.createElement('img'); image.src = 'https://127.0.0.1:9/x.png';"
        "document.body.append(script, image); fetch('https://127.0.0.1:9/').catch(() => 0);"
        "setTimeout(() => { script.remove(); image.remove(); done([...found, window.ran === undefined]) }, 300) })"
    )
    assert sorted(forbidden[:-1]) == ["connect-src", "img-src", "script-src-elem"] and forbidden[-1] is True


@pytest.mark.parametrize("width", [390, 768, 1600])
def test_no_page_is_wider_than_the_window(opened: browser.Page, file: Path, width: int) -> None:
    backgrounds = set()
    for is_dark in (False, True):
        opened.show(file, width=width, is_dark=is_dark)
        assert opened.run("document.documentElement.scrollWidth") <= width
        backgrounds.add(opened.run("getComputedStyle(document.body).backgroundColor"))
    assert len(backgrounds) == 2


A4_PIXELS = 718  # between its margins of 1 cm


def test_on_paper_nothing_is_cut_dark_or_left_out_in_silence(opened: browser.Page, file: Path, tmp_path: Path) -> None:
    opened.show(file, width=A4_PIXELS, is_dark=True, is_printed=True)
    assert opened.run("document.documentElement.scrollWidth") <= A4_PIXELS
    assert opened.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    columns = ["name of a column"] * 12
    many = {f"bar {number}": 1.0 for number in range(html.BARS + 3)}
    sections = {
        "a": [html.table("wide", columns, [["value of it"] + ["1,234.56 (1,200.00 to 1,300.00)"] * 11] * 150)],
        "b": [html.bars("many", many)],
        "c": [html.table("long", ["a", "b"], [[f"row {number}", 1] for number in range(120)], is_searchable=True)],
    }
    html.write_page(str(tmp_path / "page.html"), "t", "s", sections)
    opened.show(tmp_path / "page.html", width=A4_PIXELS, is_printed=True)
    assert opened.run("document.documentElement.scrollWidth") <= A4_PIXELS
    rights = "[...document.querySelectorAll('td, th')].map((cell) => cell.getBoundingClientRect().right)"
    assert opened.run(f"Math.max(...{rights})") <= A4_PIXELS
    shown = opened.run("document.body.innerText")
    assert "3 more are printed once they are opened." in shown and "bar 21" not in shown
    assert "Printed are the first 100 of 120 rows." in shown and "row 99" in shown and "row 100" not in shown
    opened.run("document.querySelector('details').open = true")
    shown = opened.run("document.body.innerText")
    assert "bar 21" in shown and "more are printed" not in shown
    opened.show(tmp_path / "page.html", width=A4_PIXELS)
    assert "printed" not in opened.run("document.body.innerText").lower()


def test_a_page_is_printed(page: browser.Page, tmp_path: Path) -> None:
    page.print_pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("width", [390, 1200, 1600])
def test_small_tables_beside_each_other_show_all_their_columns(
    opened: browser.Page, tmp_path: Path, width: int
) -> None:
    rows = [("bathroom", "garageieateo", 1_234, "100.0%"), ("the", "theheater", 2, "3.7%")]
    tables = [html.table(f"table {number}", ["said", "recognised", "times", "share"], rows) for number in range(3)]
    html.write_page(str(tmp_path / "page.html"), "t", "s", {"section": tables})
    opened.show(tmp_path / "page.html", width=width)
    boxes = "[...document.querySelectorAll('.scroll')]"
    assert opened.run(f"{boxes}.map((box) => box.scrollWidth <= box.clientWidth)") == [True] * 3
