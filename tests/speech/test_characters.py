"""Characters in one form each."""

import unicodedata

import pytest

from asrscale.speech.characters import UNKNOWN_MARK, compatible_forms, without_invisible


@pytest.mark.parametrize(
    ("character", "form"),
    [
        ("Ａ", "A"),
        ("ﬁ", "fi"),
        ("½", " 1/2 "),
        ("№", None),
        ("\u0e33", None),  # Thai's sara am stays one character
        ("և", None),  # the Armenian ligature, too
        ("ʰ", None),  # and the modifier letters of IPA
        ("…", None),
        (UNKNOWN_MARK, "??"),  # so that no transcript can hold it
    ],
)
def test_compatible_forms(character: str, form: str | None) -> None:
    assert compatible_forms().get(ord(character)) == form


def test_no_form_has_another_form() -> None:
    forms = compatible_forms()
    again = {character: forms[ord(part)] for character, form in forms.items() for part in form if ord(part) in forms}
    assert again == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("co\u00adop\u200bera\ufefftion", "cooperation"),
        ("می\u200cخواهم", "می\u200cخواهم"),  # between letters that would be joined
        ("می\u200c", "می"),  # at the end of a word it does nothing
        ("ক্\u200dষ", "ক্\u200dষ"),  # behind a virama
        ("a\u200db", "ab"),
        ("x \u0301y", "x y"),  # an accent without its letter
        ("❤\ufe0f", "❤"),
        ("عـــلي", "علي"),
    ],
)
def test_what_is_not_seen_is_kept_where_letters_need_it_only(text: str, expected: str) -> None:
    assert without_invisible(text) == expected
    assert without_invisible(expected) == unicodedata.normalize("NFC", expected)
