"""Characters in one form each: compatibility forms, joiners, marks, apostrophes, hyphens.

Properties of characters are those of the Unicode Character Database, by `unicodedata`, `regex` and `idna`.
"""

import unicodedata
from functools import cache

import idna
import regex

# In a hypothesis, one token that is no text, such as [UNK]: sentencepiece's mark. Transcripts never hold it, since its
# compatibility form, two question marks, takes its place.
UNKNOWN_MARK = "\u2047"

NON_JOINER = "\u200c"
JOINER = "\u200d"
VOWEL_SEPARATOR = "\u180e"  # of Mongolian
_JOINERS = NON_JOINER + JOINER + VOWEL_SEPARATOR
_VIRAMA = 9  # the canonical combining class of viramas

# Letters of scripts that write no space between words.
_UNSPACED_SCRIPTS = ("Hani", "Hira", "Kana", "Bopo", "Thai", "Laoo", "Khmr", "Mymr", "Tibt", "Lana", "Tale", "Talu")
UNSPACED = "".join(rf"\p{{scx={script}}}" for script in _UNSPACED_SCRIPTS)

HEBREW_LETTER = r"[\p{Hebrew}&&[\p{L}\p{M}]]"

# Burmese words of one sign, which Unicode counts as punctuation; and the mark between Tibetan syllables.
WORD_SIGNS = "\u104c\u104d\u104e\u104f"
TSHEG = "\u0f0b"

# Kinds of compatibility decomposition that are another look of the same letters, and never another sound.
_SAME_LETTERS = ("<wide>", "<narrow>", "<font>", "<isolated>", "<initial>", "<medial>", "<final>", "<square>")

# Of those marked <compat>, <super> and <circle>: ligatures and digraphs of Latin, Armenian and Hebrew presentation
# forms, letter-like symbols, Roman numerals, radicals of Han, digits. All others stay: sara am of Thai and Lao, the
# Armenian ligature ech-yiwn, the modifier letters of IPA, jamo that stand alone, Tibetan vowels.
_WANTED_COMPATIBILITY = regex.compile(
    "[\u00aa\u00b2\u00b3\u00b5\u00b9\u00ba\u0132\u0133\u013f\u0140\u0149\u017f\u01c4-\u01cc\u01f1-\u01f3"
    "\u03d0-\u03d6\u03f0-\u03f2\u03f4\u03f5\u2070\u2074-\u2079\u2080-\u2089\u2135-\u2138\u2160-\u217f"
    "\u2460-\u249b\u2e80-\u2fdf\ufb00-\ufb4f]"
)

# What is never drawn, the marks that choose a picture, and marks around a character.
_INVISIBLE = regex.compile(rf"[[\p{{Default_Ignorable_Code_Point}}\p{{Cf}}\p{{Me}}]--[{_JOINERS}]]", regex.V1)
STRAY_MARK = rf"(?<![\p{{L}}\p{{M}}{_JOINERS}])\p{{M}}+"  # a pattern: accents and vowel signs without their letter
_STRAY_MARKS = regex.compile(STRAY_MARK)
_MONGOLIAN = regex.compile(r"\p{Mongolian}{2}")
_TATWEEL = "\u0640\u07fa"  # lengthen the line between letters


# Blocks with characters of these kinds; the whole of Unicode would take each worker process a second.
_BLOCKS = (range(0x3400), range(0xFB00, 0x10000), range(0x1D400, 0x1D800), range(0x1EE00, 0x1F300))

# What NFKC has otherwise: n with an apostrophe, the Catalan l with a raised dot, the full-width apostrophe.
_OTHER_FORMS = {0x149: "'n", 0x13F: "L·", 0x140: "l·", 0xFF07: "'", ord(UNKNOWN_MARK): "??", 0xF0C: TSHEG}


@cache
def compatible_forms() -> dict[int, str]:
    """Returns the characters that are replaced before NFC, by their code points."""
    forms = {code: _compatible_form(chr(code)) for block in _BLOCKS for code in block}
    return {code: form for code, form in forms.items() if form is not None} | _OTHER_FORMS


def _compatible_form(character: str) -> str | None:
    """Returns the letters and digits that a compatibility character stands for; None where it is to stay."""
    kind, _, _ = unicodedata.decomposition(character).partition(" ")
    if kind == "<fraction>":
        return " " + unicodedata.normalize("NFKC", character).replace("\u2044", "/") + " "
    if kind not in _SAME_LETTERS and not _WANTED_COMPATIBILITY.match(character):
        return None
    # Isolated forms of Arabic vowel signs decompose into a space and the sign.
    replacement = unicodedata.normalize("NFKC", character).strip()
    # Punctuation keeps its form for those who keep it, such as the Chinese comma.
    is_spoken = any(unicodedata.category(part)[0] in "LMN" for part in replacement)
    return replacement if is_spoken and replacement != character else None


def without_invisible(text: str) -> str:
    """Returns the text without what is not seen, but for joiners where letters need them inside of a word.

    These are, after RFC 5892 (appendix A), a joiner or non-joiner behind a virama and a non-joiner between letters that
    would be joined; and a joiner before a virama, by which Bengali and Kannada keep the first letter whole (The Unicode
    Standard, chapter 12). Also left out: marks behind anything but a letter, and tatweel.
    """
    if text.isascii():
        return text
    text = _INVISIBLE.sub("", text).translate(dict.fromkeys(map(ord, _TATWEEL)))
    text = _STRAY_MARKS.sub("", text)
    if any(joiner in text for joiner in _JOINERS):
        text = _with_needed_joiners(text)
    return unicodedata.normalize("NFC", text)  # what is left may compose


def _with_needed_joiners(text: str) -> str:
    text = regex.sub(f"([{_JOINERS}])\\1+", r"\1", text)
    kept = [character for place, character in enumerate(text) if character not in _JOINERS or _is_needed(text, place)]
    return "".join(kept)


def _is_needed(text: str, place: int) -> bool:
    """Whether the joiner or non-joiner at `place` changes how its word is written."""
    before, after = text[max(0, place - 1) : place], text[place + 1 : place + 2]
    if not (before and after and unicodedata.category(before)[0] in "LM"):
        return False
    if text[place] == VOWEL_SEPARATOR:
        return bool(_MONGOLIAN.fullmatch(before + after))
    if text[place] == JOINER and unicodedata.combining(after) == _VIRAMA:
        return unicodedata.category(before)[0] == "L"
    return unicodedata.category(after)[0] == "L" and idna.valid_contextj(text, place)
