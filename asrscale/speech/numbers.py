"""Numbers in digits to words, by the optional library num2words."""

import importlib.util
import re
from collections.abc import Callable
from functools import cache
from typing import Literal, TypeAlias

from asrscale.common.errors import CliError
from asrscale.speech.languages import short_code

Numbers: TypeAlias = Literal["keep", "spell"]

_MOST_DIGITS = 15  # longer ones are no amounts but, as those that begin with 0, names such as of a telephone
_ENGLISH_ORDINAL = re.compile(r"(\d+)(?:st|nd|rd|th)\b", re.IGNORECASE)

_OTHER_NAMES = {"kk": "kz", "nn": "no", "nb": "no"}  # num2words' names of languages where they are not ISO's


def check_can_spell(language: str) -> None:
    """Raises CliError unless numbers of a language, by its code, can be spelled here."""
    if not all(importlib.util.find_spec(name) for name in ("num2words", "babel")):
        raise CliError("--numbers spell needs num2words and babel: pip install 'asrscale[numbers]'")
    from num2words import CONVERTER_CLASSES

    if not language:
        raise CliError("--numbers spell needs to know the language: give --language CODE")
    if _converter_name(language) is None:
        known = ", ".join(sorted(CONVERTER_CLASSES))
        raise CliError(f"--numbers spell: num2words does not know '{language}', only {known}: --numbers keep")


@cache
def _converter_name(language: str) -> str | None:
    """Returns what num2words calls a language, with its region where it knows that; None where it does not know it."""
    from num2words import CONVERTER_CLASSES

    short = short_code(language)
    region = language.rpartition("-")[2].upper()
    candidates = (f"{short}_{region}", short, _OTHER_NAMES.get(short, ""))
    return next((name for name in candidates if name in CONVERTER_CLASSES), None)


def spell_numbers(text: str, language: str) -> str:
    """Returns the text with its numbers in words, as amounts; one that cannot be spelled stays.

    Args:
        text: A transcript, before punctuation is taken out of it.
        language: The code of a language that passed `check_can_spell`.
    """
    if not any(map(str.isdigit, text)):
        return text
    if short_code(language) == "en":
        text = _ENGLISH_ORDINAL.sub(lambda match: _in_words(match[1], language, to="ordinal"), text)
    return _number_pattern(language).sub(_speller(language), text)


@cache
def _marks(language: str) -> tuple[str, str]:
    """Returns what a language writes between thousands and before decimals, after Unicode's CLDR."""
    from babel import Locale, UnknownLocaleError
    from babel.numbers import get_decimal_symbol, get_group_symbol

    try:
        locale = Locale.parse(short_code(language))
    except UnknownLocaleError:
        locale = Locale.parse("en")
    return get_group_symbol(locale), get_decimal_symbol(locale)


@cache
def _number_pattern(language: str) -> re.Pattern[str]:
    group, decimal = _marks(language)
    groups = "[\u00a0\u202f ]" if group.isspace() else re.escape(group)
    return re.compile(rf"(\d{{1,3}}(?:{groups}\d{{3}})+(?!\d)|\d+)(?:{re.escape(decimal)}(\d+))?")


@cache
def _speller(language: str) -> Callable[[re.Match[str]], str]:
    """Returns what replaces a match of the number pattern."""

    def spelled(match: re.Match[str]) -> str:
        whole, decimals = match.groups()
        digits = "".join(filter(str.isdigit, whole))
        if (digits[0] == "0" and len(digits) > 1) or len(digits) > _MOST_DIGITS:
            return " ".join(_in_words(digit, language) for digit in digits + (decimals or ""))
        return _in_words(f"{digits}.{decimals}" if decimals else digits, language)

    return spelled


def _in_words(number: str, language: str, to: str = "cardinal") -> str:
    """Returns a number as words between spaces, or as it is where num2words fails over it."""
    from num2words import num2words

    try:
        value = float(number) if "." in number else int(number)
        return f" {num2words(value, lang=_converter_name(language), to=to)} "
    except (NotImplementedError, ArithmeticError, LookupError, AttributeError, TypeError, ValueError):
        return number
