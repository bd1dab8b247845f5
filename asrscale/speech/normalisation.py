"""Transcripts to normalised text."""

import unicodedata
from collections.abc import Callable
from functools import cache

# Curly quotes, modifier letter, grave and acute accent, full width.
_APOSTROPHE_VARIANTS = "\u2019\u2018\u02bc`\u00b4\uff07"

# Mapped before NFKC, which would make a space and a combining mark of the acute accent; and U+0149, an n with its
# apostrophe in one character, must be mapped before NFKC too.
_APOSTROPHES = str.maketrans({**dict.fromkeys(_APOSTROPHE_VARIANTS, "'"), "\u0149": "'n"})

# The first letters of Unicode's general categories of letters, marks and numbers.
_KEPT_CATEGORIES = "LMN"


def normalise(text: str) -> str:
    """Returns a transcript after NORMALISATION_STEPS, in their order; doing so twice changes nothing."""
    for step in _STEPS.values():
        text = step(text)
    return text


def _with_ascii_apostrophes(text: str) -> str:
    return text.translate(_APOSTROPHES)


def _with_nfkc(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _spoken_only(text: str) -> str:
    """Returns the text with a space for every character that is not spoken."""
    return "".join(map(_spoken, text))


@cache
def _spoken(character: str) -> str:
    """Returns a letter, mark, digit or apostrophe itself, and a space for any other character.

    Digits are kept, so that they are reported (`characters` in dataset.json), and not spelled out.
    """
    is_kept = character == "'" or unicodedata.category(character)[0] in _KEPT_CATEGORIES
    return character if is_kept else " "


def _with_single_spaces(text: str) -> str:
    return " ".join(text.split())


# The names are those that dataset.json records.
_STEPS: dict[str, Callable[[str], str]] = {
    "apostrophe_variants_to_ascii": _with_ascii_apostrophes,
    "unicode_nfkc": _with_nfkc,
    "lower_case": str.lower,
    "keep_letters_marks_digits_apostrophe": _spoken_only,
    "collapse_white_space": _with_single_spaces,
}

NORMALISATION_STEPS = tuple(_STEPS)
