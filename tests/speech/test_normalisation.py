"""Transcripts to normalised text."""

import unicodedata

import pytest

from asrscale.speech.normalisation import NORMALISATION_STEPS, normalise


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
        assert all(character in "' " or unicodedata.category(character)[0] in "LMN" for character in text)
    assert len(NORMALISATION_STEPS) == len(set(NORMALISATION_STEPS))
