"""Transcripts to normalised text."""

import csv
import random
import string
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from asrscale.speech import characters, languages
from asrscale.speech.normalisation import (
    NEUTRAL,
    TextRules,
    normalise,
    normalise_hypothesis,
    rules_from_json,
    rules_in,
    steps_of,
)


@pytest.mark.parametrize(
    ("raw", "normalised"),
    [
        ("Hello, World!", "hello world"),
        ("  a\t b\u00a0\n c ", "a b c"),
        ("don\u2019t don\u2018t don\u02bct don`t don\u00b4t don\uff07t", "don't " * 5 + "don't"),
        ("\u0149", "'n"),
        ("well-known", "well known"),
        ("\ufb01ne \uff21\uff22", "fine ab"),  # a ligature and full-width letters
        ("E\u0301te\u0301", "été"),
        ("Straße 24", "straße 24"),
        ("हिन्दी", "हिन्दी"),  # its vowel signs are marks
        ("日本 語。", "日本 語"),
        ("— … 🙂 |", ""),
        ("", ""),
    ],
)
def test_normalise(raw: str, normalised: str) -> None:
    assert normalise(raw) == normalised


def test_normalising_twice_changes_nothing_and_leaves_only_what_it_promises() -> None:
    for code in (*range(0x3000), *range(0xF900, 0x10000), *range(0x1F000, 0x1F200)):
        text = normalise(f"a{chr(code)}b{chr(code)}")
        assert normalise(text) == text
        for character in text:
            # Cn: letters that regex knows from a later version of Unicode than Python.
            is_letter = unicodedata.category(character)[0] in "LMN" or unicodedata.category(character) == "Cn"
            is_spoken = is_letter or character in characters.WORD_SIGNS
            assert is_spoken or character in "' ", hex(code)


# Letters, marks, quotes, joiners, punctuation and markup that steps look at beside each other.
DIFFICULT = (
    "abilnosIİSßΣσςκ'’‘ʼʻ‚\"“״׳שלם-‐·.:, \u00ad\u200b\u200c\u200d\u0307\u0301ẹِ̀เำ\u0e4dา่กക്ൻന്র্যكيهہ日本、ｶﾞ9½²"
    "ﬁĳ་བསོ՞չ၏က[](){}<>&#39;;amp"
    "\ufe0f❤⁇`´′\u180eᠠ"
)


@pytest.mark.parametrize("code", sorted({*languages._LANGUAGES, *languages._SHORT_CODES.values()}))
def test_no_step_of_any_language_changes_plain_words(code: str) -> None:
    """So that a second round can be spared; every pair of letters is among them."""
    letters = string.ascii_lowercase
    plain = " ".join(f"{first}{second} {first}" for first in letters for second in letters)
    for changes in ({}, {"keep_case": True}, {"keep_punctuation": True}, {"hyphens": "join"}):
        rules = TextRules(language=code, **changes)
        assert [name for name, step in steps_of(rules).items() if step(plain) != plain] == []


def test_normalising_twice_changes_nothing_whatever_the_rules() -> None:
    rng = random.Random(0)
    for number in range(4_000):
        text = "".join(rng.choice(DIFFICULT) for _ in range(rng.randint(1, 10)))
        rules = TextRules(
            language=rng.choice(["", "en", "tr", "lt", "uz", "haw", "gn", "he", "el", "ca", "th", "ml", "fr", "hy"]),
            keep_case=number % 7 == 0,
            keep_punctuation=number % 5 == 0,
            hyphens=rng.choice([None, "space", "keep", "join"]),
            markup=rng.choice(["drop", "reject", "keep"]),
        )
        once = normalise(text, rules)
        assert normalise(once, rules) == once == unicodedata.normalize("NFC", once), (ascii(text), rules)


def test_english_is_as_it_was_for_former_versions() -> None:
    """The one list of steps of former versions, by what they were made of."""
    path = Path(__file__).parents[3] / "shared/data/common_voice_v1/cv-valid-dev.csv"
    if not path.exists():
        pytest.skip("../shared/data is not here")
    with path.open(newline="") as file:
        sentences = [row["text"] for row in csv.DictReader(file)]
    former = [
        " ".join("".join(c if c.isalnum() or c == "'" else " " for c in one.lower()).split()) for one in sentences
    ]
    changed = [old for old, one in zip(former, sentences, strict=True) if normalise(one) != old]
    assert len(sentences) > 4_000 and changed == ["'and this is what your son said' the angel told the man"]  # quotes


@pytest.mark.parametrize(
    ("rules", "raw", "normalised"),
    [
        (dict(keep_case=True), "Don’t, Ann!", "Don't Ann"),
        (dict(keep_punctuation=True), "‘Well,’ he said: it’s 5.", "‘well,’ he said: it's 5."),
        (dict(keep_punctuation=True), "hello <COMMA> you <QUESTIONMARK>", "hello , you ?"),
        (dict(keep_punctuation=True), "…!", ""),
        (dict(keep_case=True, keep_punctuation=True), "«Oui», dit-il.", "«Oui», dit-il."),
        (dict(keep_case=True, language="el"), "ΣΟΦΟΣ", "ΣΟΦΟΣ"),
        (dict(hyphens="keep"), "well-known - yes-", "well-known yes"),
        (dict(hyphens="join"), "well-known 5-6", "wellknown 5 6"),
        (dict(hyphens="space", language="fr"), "est-ce", "est ce"),
        (dict(form="characters", markup="keep"), " tʃ  iː\tn [x] ", "tʃ iː n [x]"),
        (dict(form="none", markup="keep"), " Straße,\n<b>NFD e\u0301 ", "Straße, <b>NFD e\u0301"),
        (dict(markup="keep"), "[noise] a&amp;b", "noise a amp b"),
    ],
)
def test_rules(rules: dict[str, Any], raw: str, normalised: str) -> None:
    assert normalise(raw, TextRules(**rules)) == normalised


def test_rules_are_recorded_by_what_differs_from_those_for_any_language() -> None:
    rules = TextRules(language="tr", keep_case=True, numbers="spell")
    assert rules.changes == {"language": "tr", "keep_case": True, "numbers": "spell"}
    assert rules_in({"filter": None, **rules.changes}) == rules_from_json(rules.to_json()) == rules
    assert rules_in({"filter": None}) == NEUTRAL


def test_the_steps_of_rules_have_names() -> None:
    assert list(steps_of(NEUTRAL)) == [
        "drop_markup",
        "compatible_forms_then_unicode_nfc",
        "glottal_letter_to_apostrophe",
        "drop_invisible_and_stray_marks",
        "one_apostrophe_beside_letters",
        "lower_case",
        "keep_letters_marks_digits_apostrophe",
        "final_sigma",
        "collapse_white_space",
        "empty_without_letter_or_digit",
    ]
    turkish = steps_of(TextRules(language="tr", hyphens="keep"))
    assert "turkic_lower_case" in turkish and "keep_letters_marks_digits_apostrophe_hyphen" in turkish


def test_an_unknown_token_of_a_hypothesis_is_one_character_of_its_word() -> None:
    mark = characters.UNKNOWN_MARK
    assert normalise_hypothesis(f"H{mark}llo, {mark} it{mark}'s", NEUTRAL) == f"h{mark}llo {mark} it{mark}'s"
    assert normalise_hypothesis(f"日{mark}、本", TextRules(language="ja")) == f"日{mark} 本"
    assert normalise(f"h{mark}llo") == "h llo"  # in a transcript two question marks
