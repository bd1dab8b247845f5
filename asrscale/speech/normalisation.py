"""Transcripts to normalised text."""

import unicodedata
from collections.abc import Callable
from functools import cache

# Curly quotes, modifier letter, grave and acute accent, full width. Mapped before NFKC, which would make a space and a
# combining mark of the acute accent; and so must U+0149, an n with its apostrophe in one character.
_APOSTROPHES = str.maketrans({**dict.fromkeys("\u2019\u2018\u02bc`\u00b4\uff07", "'"), "\u0149": "'n"})


@cache
def _spoken(character: str) -> str:
    """Letters, marks and apostrophes; digits too, which are reported (`characters` in dataset.json) and not spelled."""
    return character if character == "'" or unicodedata.category(character)[0] in "LMN" else " "


_STEPS: dict[str, Callable[[str], str]] = {
    "apostrophe_variants_to_ascii": lambda text: text.translate(_APOSTROPHES),
    "unicode_nfkc": lambda text: unicodedata.normalize("NFKC", text),
    "lower_case": str.lower,
    "keep_letters_marks_digits_apostrophe": lambda text: "".join(map(_spoken, text)),
    "collapse_white_space": lambda text: " ".join(text.split()),
}


NORMALISATION_STEPS = tuple(_STEPS)


def normalise(text: str) -> str:
    """Applies NORMALISATION_STEPS in their order; doing so twice changes nothing."""
    for step in _STEPS.values():
        text = step(text)
    return text
