"""The page of statistics."""

import html
import re
from pathlib import Path

import pytest
from helpers.outline import Outline
from helpers.sharding import shard, write_clip, write_csv

from asrscale.common.errors import CliError
from asrscale.corpus import statistics_page
from asrscale.corpus.statistics import read_statistics
from asrscale.corpus.statistics_page import write_statistics_page
from asrscale.corpus.statistics_report import print_statistics


def text_of(page: str) -> str:
    return " ".join(html.unescape(re.sub("<[^>]+>", " ", page)).split())


def page_of(folders: list[str], file: Path) -> str:
    write_statistics_page(read_statistics(folders), str(file))
    page = file.read_text(encoding="utf-8")
    Outline(page)
    return re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.DOTALL)


def test_the_page_of_a_data_set(tone_shards: Path, tmp_path: Path) -> None:
    file = tmp_path / "stats.html"
    folders = [str(tone_shards / name) for name in ("train", "valid")]
    print_statistics(folders, str(file))
    page = file.read_text(encoding="utf-8")
    text = text_of(page)
    statistics = read_statistics(folders)
    assert "Utterances 120 in 2 folders" in text
    for folder in statistics.folders:
        assert f"{folder.name} {folder.utterances} {folder.hours:.2f}" in text
    for wanted in ("train and valid", "words a second", "accent", "tones", "space", "collapse white space"):
        assert wanted in text
    listened = 1 + statistics_page.SPREAD_LENGTHS <= page.count("<audio") <= statistics_page.SPREAD_LENGTHS + 12
    assert listened and f"{page.count('<audio')} of 120 utterances" in text
    assert len(page) < 1_000_000
    with pytest.raises(CliError, match=r"^--html .*: No such file or directory: give a file"):
        print_statistics(folders, str(tmp_path / "absent/stats.html"))


def test_histograms_count_all_utterances(tone_shards: Path, tmp_path: Path) -> None:
    page = page_of([str(tone_shards / "train")], tmp_path / "stats.html")
    plots = re.findall(r'<svg viewBox="0 0 600.*?</svg>', page, re.DOTALL)
    assert len(plots) == 3
    for plot in plots:
        counts = re.findall(r"<title>[^<:]+: ([\d,]+)</title>", plot)
        assert sum(int(count.replace(",", "")) for count in counts) == 89
    assert "What two folders share" not in page and "Shared sentences" not in page


def test_characters_have_names_where_they_do_not_show() -> None:
    names = [statistics_page._character_name(one) for one in ("a", "ß", " ", "'", "\u0301", "\u200d", "\ue000")]
    assert names == [
        *("a", "ß", "space", "' apostrophe", "◌\u0301 combining acute accent"),
        *("\u200d zero width joiner", "\ue000 u+e000"),
    ]


def test_one_utterance_of_one_speaker(tmp_path: Path) -> None:
    """None at all is no data set: the build refuses it."""
    write_clip(tmp_path / "a.wav", seconds=2)
    text = "שלום <b>hello</b> wwwwwwwwwwwwwwwwwww"
    csv_file = write_csv(tmp_path / "a.csv", [("a.wav", text, "<i>someone")], "filename,text,client_id")
    shard("--csv", f"train={csv_file}", "--out", tmp_path / "out")
    page = page_of([str(tmp_path / "out" / "train")], tmp_path / "stats.html")
    text = text_of(page)
    assert "nan" not in text and "<i>" not in page and page.count("<audio") == 1
    assert "Utterances 1 " in text and "Speakers 1 " in text and "<i>someone" in text and "1 of 1 utterances" in text
