"""Symbols that people read aloud, such as % and &, and that normalisation leaves out of a transcript."""

from collections import Counter

import regex

from asrscale.speech.markup import without_markup
from asrscale.speech.normalisation import TextRules

# Currencies, signs of mathematics and pictures; and of what Unicode counts as punctuation the signs that are words.
_SYMBOL = regex.compile(r"[\p{Sc}\p{Sm}\p{So}%&@#*§¶‰‱†‡/\\٪؉％＆＠＃＊／＼﹪﹠﹫﹟]")


def lost_symbols(text: str, normalised: str, rules: TextRules) -> Counter[str]:
    """Returns how often each symbol of a transcript is not in it any more after its normalisation.

    Each may stand for a word that is spoken and is now missing: 5 % becomes 5, R&D becomes r d.

    Args:
        text: The transcript of the source.
        normalised: What normalisation made of it.
        rules: How: symbols of annotations and tags that are dropped do not count.
    """
    if _SYMBOL.search(text) is None:
        return Counter()
    spoken = without_markup(text, keep_punctuation=rules.keep_punctuation) if rules.markup == "drop" else text
    return Counter(_SYMBOL.findall(spoken)) - Counter(_SYMBOL.findall(normalised))
