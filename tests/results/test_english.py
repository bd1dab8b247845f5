import dataclasses
import importlib.util
from collections import Counter
from pathlib import Path

import pytest
from helpers.folders import make_folder

from asrscale.common.errors import CliError
from asrscale.data.index import Index, read_index
from asrscale.results.english import check_english, describe_english, english_normalizer, share_of_english_letters
from asrscale.speech.characters import UNKNOWN_MARK
from asrscale.speech.normalisation import TextRules


def index_of(folder: Path, text: str, rules: TextRules) -> Index:
    index = read_index([str(make_folder(folder, (1,)))])
    return dataclasses.replace(index, characters=Counter(text), text_rules=(rules,))


def test_it_is_whispers_own() -> None:
    """Compared with the port in the package whisper-normalizer, which we use for its list of spellings only."""
    from whisper_normalizer.english import EnglishTextNormalizer

    ours, theirs = english_normalizer(), EnglishTextNormalizer()
    for text in (
        "Mr. O'Neill won't colour it, he's been to the theatre",
        "uh i paid twenty five dollars and fifty cents",
        "it's the 3rd of may nineteen ninety nine",
        "don't you've [noise] gonna (laughs) neighbour's mm",
        "one oh one two hundred thousand per cent",
        "",
    ):
        assert ours(text) == theirs(text).strip()
    assert ours("colour twenty-one") == "color 21" and ours("uh um") == ""


def test_an_unknown_token_stays_one_wrong_character() -> None:
    assert english_normalizer()(f"hel{UNKNOWN_MARK}o {UNKNOWN_MARK} the theatre") == (
        f"hel{UNKNOWN_MARK}o {UNKNOWN_MARK} the theater"
    )


def test_english_and_what_may_be_is_taken(tmp_path: Path) -> None:
    check_english("data", index_of(tmp_path / "a", "the café is naïve" * 3, TextRules(language="en-gb")))
    check_english("data", index_of(tmp_path / "b", "one two three" * 50 + "é", TextRules()))


@pytest.mark.parametrize(
    ("text", "rules", "message"),
    [
        ("eins zwei", TextRules(language="de"), "data is in the language 'de': leave it out"),
        ("schön und größer", TextRules(), "data names no language and only 79% of its letters are a to z"),
        ("你好", TextRules(), "only 0% of its letters"),
        ("h ə l oʊ", TextRules(form="characters"), "has labels between spaces and no words"),
    ],
)
def test_other_languages_are_refused_in_one_line(text: str, rules: TextRules, message: str, tmp_path: Path) -> None:
    with pytest.raises(CliError) as caught:
        check_english("data", index_of(tmp_path / "a", text, rules))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_the_missing_extra_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CliError, match=r"pip install 'asrscale\[english\]'"):
        check_english("data", index_of(tmp_path / "a", "hello", TextRules()))


def test_it_says_what_it_is_and_what_it_is_given() -> None:
    assert "Whisper's" in describe_english() and "transcripts as they are in the shards" in describe_english()
    assert share_of_english_letters(Counter("12 ab ü")) == 2 / 3
