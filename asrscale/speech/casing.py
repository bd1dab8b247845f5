"""Capitals to small letters, as languages do it."""

import unicodedata

import regex

from asrscale.speech.languages import Casing

_DOT_ABOVE = "\u0307"

# Turkish, Azeri and their kin have an i with and one without a dot, in both cases.
_TURKIC = str.maketrans({"I": "ı", "İ": "i"})

# Lithuanian keeps the dot of i, j and į below a grave, an acute or a tilde (SpecialCasing.txt).
_LITHUANIAN_DOT = regex.compile("([ij]\u0328?)\u0307?([\u0300\u0301\u0303])")

_DOTTED_I = regex.compile(f"i{_DOT_ABOVE}+")

# A sigma has another form where a word of several letters ends.
_FINAL_SIGMA = regex.compile(r"(?<=[\p{Greek}][\p{M}]*)σ(?![\p{L}\p{M}'·])")
_INNER_SIGMA = regex.compile(r"ς(?=[\p{L}'])")


def lower_case(text: str, casing: Casing) -> str:
    """Returns the text in small letters, in NFC."""
    if text.isascii() and casing == "usual":
        return text.lower()
    if casing == "turkic":
        text = text.translate(_TURKIC)
    text = text.lower()
    if casing == "lithuanian":
        return _with_lithuanian_dots(text)
    # What Python makes of İ, and others have made of it before, is an i with two dots.
    return unicodedata.normalize("NFC", _DOTTED_I.sub("i", text))


def _with_lithuanian_dots(text: str) -> str:
    text = _LITHUANIAN_DOT.sub(rf"\1{_DOT_ABOVE}\2", unicodedata.normalize("NFD", text))
    return unicodedata.normalize("NFC", regex.sub(f"{_DOTTED_I.pattern}(?![\u0300\u0301\u0303])", "i", text))


def with_final_sigma(text: str) -> str:
    """Returns words with the form of sigma that their place asks for; a sigma before an apostrophe is not the last."""
    if "σ" not in text and "ς" not in text:
        return text
    return str(_FINAL_SIGMA.sub("ς", _INNER_SIGMA.sub("σ", text)))
