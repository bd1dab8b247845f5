"""Apostrophes, quotes and okinas, which keyboards do not tell apart."""

import regex

from asrscale.speech.characters import HEBREW_LETTER, UNSPACED
from asrscale.speech.languages import BEFORE_VOWELS, GLOTTAL_LETTER, OKINA, Language

# Straight, curly, reversed, grave and acute accent, prime, and the modifier letter.
_FORMS = "'\u2018\u2019\u201b`\u00b4\u2032" + GLOTTAL_LETTER
_OKINA_FORMS = _FORMS + OKINA + "\u02bd"

# Those that may stand where a word begins or ends; the others are apostrophes between letters only.
_EDGE_FORMS = "'\u2019" + GLOTTAL_LETTER

# Quotes: the forms above without the modifier letter, and the low quote that opens a German or Polish quotation.
_QUOTES = "'\u2018\u2019\u201b`\u00b4\u2032\u201a"

# Scripts without spaces between words have no apostrophes, nor has Korean.
_NO_APOSTROPHES = rf"[{UNSPACED}\p{{Hangul}}]"
_LETTER = rf"[[\p{{L}}\p{{M}}]--{_NO_APOSTROPHES}]"
_LETTER_OR_DIGIT = rf"[[\p{{L}}\p{{M}}\p{{N}}]--{_NO_APOSTROPHES}]"
_WORD = regex.compile(f"{_LETTER}+", regex.V1)
_LETTER_BEHIND = regex.compile(rf"[\p{{L}}--{_NO_APOSTROPHES}]", regex.V1)
_REPEATED = regex.compile(f"[{_QUOTES}]{{2,}}")  # two of them make a double quote
_DOUBLED = regex.compile(f"(?<={_LETTER}){_REPEATED.pattern}(?={_LETTER})", regex.V1)  # but in a word are a slip
_BETWEEN_LETTERS = regex.compile(f"(?<={_LETTER})[{_FORMS}](?={_LETTER})", regex.V1)
_OPENING = regex.compile(rf"(?<!{_LETTER_OR_DIGIT})[{_QUOTES}](?=\S)", regex.V1)
_CLOSING = regex.compile(rf"(?<=\S)[{_QUOTES}](?!{_LETTER_OR_DIGIT})", regex.V1)
_ANY_QUOTE = regex.compile(f"[{_QUOTES}]")
_ANY_FORM = regex.compile(f"[{_FORMS}]")
_ANY_MARK = regex.compile(f"[{_OKINA_FORMS}\u201a]")
_OKINA_BEFORE_VOWEL = regex.compile(f"[{_OKINA_FORMS}](?=[aeiouāēīōū])", regex.IGNORECASE)
_NO_APOSTROPHE = '"'  # punctuation of another kind, which the cutting of words takes out

# Hebrew's own: geresh behind a letter (ג׳), gershayim before the last letters of an abbreviation (צה״ל, מנכ״לית), which
# a double quote is unless another one closes the word.
_HEBREW = regex.compile(r"\p{Hebrew}")
_GERESH = regex.compile(f"(?<={HEBREW_LETTER})[{_FORMS}]", regex.V1)
_GERSHAYIM = regex.compile(
    f"(?<={HEBREW_LETTER})(?:[\"\u201c\u201d\u201e]|['\u2019\u05f3]{{2}})"
    f'(?={HEBREW_LETTER}{{1,3}}(?![\\p{{Hebrew}}"\u201c\u201d]))',
    regex.V1,
)


def with_one_apostrophe(text: str, language: Language, *, keep_quotes: bool = False) -> str:
    """Returns the text with one form of the apostrophe, which stands beside letters only.

    A quote that opens and one that closes after it are a pair, and no apostrophes. Of what is left, an apostrophe is
    kept between letters, where a word begins ('tis) and where it ends (dogs').

    Args:
        text: A transcript.
        language: Says which forms are letters.
        keep_quotes: Whether what is no apostrophe stays as it is; else it becomes a double quote.
    """
    has_hebrew = _HEBREW.search(text) is not None
    if not has_hebrew and not _ANY_MARK.search(text):
        return text
    if has_hebrew:
        text = _GERSHAYIM.sub("\u05f4", text)
    if language.okina_after and language.okina_after != BEFORE_VOWELS:
        text = _with_okinas_after(text, language.okina_after)
    if not keep_quotes:
        text = _without_quotes(text, language.elisions)
    if language.okina_after == BEFORE_VOWELS:
        text = _OKINA_BEFORE_VOWEL.sub(OKINA, text)
    if has_hebrew:
        text = _GERESH.sub("\u05f3", text)
    if keep_quotes:
        return str(_BETWEEN_LETTERS.sub(language.apostrophe, text))
    return str(_ANY_FORM.sub(lambda match: _apostrophe_at(text, match.start(), language), text))


def _without_quotes(text: str, elisions: tuple[str, ...]) -> str:
    """Returns the text without quotes that come in pairs."""
    if _REPEATED.search(text):
        text = _REPEATED.sub(_NO_APOSTROPHE, _DOUBLED.sub("'", text))
    characters = list(text)
    opened: list[int] = []
    for match in _ANY_QUOTE.finditer(text):
        place = match.start()
        if opened and _CLOSING.match(text, place):
            characters[opened.pop()] = _NO_APOSTROPHE
            characters[place] = _NO_APOSTROPHE
        elif _OPENING.match(text, place) and not _is_elision(text, place, elisions):
            opened.append(place)
    return "".join(characters)


def _is_elision(text: str, place: int, elisions: tuple[str, ...]) -> bool:
    """Whether the word behind the apostrophe at `place` is one that begins with an apostrophe."""
    word = _WORD.match(text, place + 1)
    return word is not None and word[0].lower() in elisions


def _with_okinas_after(text: str, letters: str) -> str:
    """Returns the text with the letter U+02BB after these letters, and an apostrophe elsewhere."""
    text = regex.sub(f"(?<=[{letters}])[{_OKINA_FORMS}]", OKINA, text)
    return str(regex.sub(f"(?<![{letters}]){OKINA}", "'", text))


def _apostrophe_at(text: str, place: int, language: Language) -> str:
    """Returns what the form of an apostrophe at `place` becomes: the language's apostrophe, or a quote if it is one."""
    character = text[place]
    is_after_letter = place > 0 and _WORD.match(text, place - 1) is not None
    is_before_letter = _LETTER_BEHIND.match(text, place + 1) is not None
    is_between_letters = is_after_letter and is_before_letter
    is_at_edge = (is_after_letter or is_before_letter) and character in _EDGE_FORMS
    is_kept = is_between_letters or is_at_edge or _is_elision(text, place, language.elisions)
    return language.apostrophe if is_kept else _NO_APOSTROPHE
