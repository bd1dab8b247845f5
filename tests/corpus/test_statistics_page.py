"""The page of statistics."""

import re
from pathlib import Path

import pytest
from helpers.outline import Outline

from asrscale.common.errors import CliError
from asrscale.corpus.statistics_report import print_statistics
from asrscale.data import players


def test_the_page_of_a_data_set(tone_shards: Path, tmp_path: Path) -> None:
    file = tmp_path / "stats.html"
    folders = [str(tone_shards / name) for name in ("train", "valid")]
    print_statistics(folders, str(file))
    html = file.read_text(encoding="utf-8")
    outline = Outline(html)
    assert "120 utterances" in outline.text
    assert outline.tags.count("audio") == players.PLAYERS
    for wanted in ("train and valid", "Words a second", "accent", "tones", "space", "collapse white space"):
        assert wanted in outline.text
    assert len(html) < 1_000_000
    assert not re.findall(r"(?:src|href)=\"(?!data:)|@import|url\(", html)  # nothing is fetched
    print_statistics(folders[:1], str(file))
    with pytest.raises(CliError, match=r"^--html .*: No such file or directory: give a file"):
        print_statistics(folders, str(tmp_path / "absent/stats.html"))
