"""Apostrophes, quotes and okinas."""

import pytest

from asrscale.speech.apostrophes import with_one_apostrophe
from asrscale.speech.languages import language_of


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        ("en", "don\u2019t", "don't"),
        ("en", "\u2018tis the dogs\u2019 bowl", "'tis the dogs' bowl"),  # an elision, not a quote
        ("en", "he said 'yes'", 'he said "yes"'),
        ("en", "''yes''", '"yes"'),
        ("en", "a ' b", 'a " b'),
        ("en", "don''t", "don't"),  # a slip
        ("nl", "'s avonds", "'s avonds"),
        ("uz", "o'zbek bo\u02bblib sa'nat", "o\u02bbzbek bo\u02bblib sa'nat"),
        ("haw", "Hawai'i", "Hawai\u02bbi"),
        ("he", "צה\"ל ג'ירפה", "צה״ל ג׳ירפה"),
        ("en", "plain words", "plain words"),
    ],
)
def test_one_form_beside_letters(code: str, text: str, expected: str) -> None:
    assert with_one_apostrophe(text, language_of(code)) == expected


def test_quotes_stay_as_they_are_for_those_who_keep_punctuation() -> None:
    assert with_one_apostrophe("he said \u2018don\u2019t\u2019", language_of("en"), keep_quotes=True) == (
        "he said \u2018don't\u2019"
    )
