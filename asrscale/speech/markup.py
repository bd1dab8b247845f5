"""What is in a transcript and not spoken: annotations in brackets, tags, and HTML entities."""

import html
import re
from typing import Literal, TypeAlias

Markup: TypeAlias = Literal["drop", "reject", "keep"]

# Tags such as <COMMA>, <unk>, </i>; brackets and braces of one line; and the words in parentheses that transcribers
# write for sounds: all other parentheses may hold what is spoken.
_SOUNDS = (
    "laugh(s|ter|ing)?|chuckl(es?|ing)|noise|music|applause|inaudible|unintelligible|crosstalk|cough(s|ing)?|"
    "breath(es|ing)?|sigh(s|ing)?|silence|pause|sneez(es?|ing)|sniff(s|ing)?|background noise|click|beep"
)
_ANNOTATION = re.compile(
    rf"</?[A-Za-z][^<>\n]{{0,60}}>|\[[^\[\]\n]{{0,80}}\]|\{{[^{{}}\n]{{0,80}}\}}|\(\s*({_SOUNDS})\s*\)", re.IGNORECASE
)

# An entity with its semicolon; without it "AT&T" or "R&D" might be one.
_ENTITY = re.compile(r"&(#\d{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,30});", re.IGNORECASE)

# GigaSpeech's tags for punctuation, for those who keep it.
_PUNCTUATION = {"<COMMA>": ",", "<PERIOD>": ".", "<QUESTIONMARK>": "?", "<EXCLAMATIONPOINT>": "!"}

_DECODED_AT_MOST = 3  # times: &amp;#39; is an entity of an entity


def find_markup(text: str) -> list[str]:
    """Returns the annotations, tags and HTML entities of a transcript, in their order, as they are written."""
    if not _may_have_markup(text):
        return []
    entities = [match[0] for match in _ENTITY.finditer(text) if html.unescape(match[0]) != match[0]]
    return entities + [match[0] for match in _ANNOTATION.finditer(_without_entities(text))]


def without_markup(text: str, *, keep_punctuation: bool = False) -> str:
    """Returns a transcript without annotations and tags, and with the characters that its HTML entities stand for.

    Args:
        text: The transcript.
        keep_punctuation: Whether a tag such as <COMMA> becomes its punctuation mark.
    """
    if not _may_have_markup(text):
        return text
    text = _without_entities(text)
    # Nested brackets go from the inside out.
    while True:
        shorter = _ANNOTATION.sub(lambda match: _replacement(match[0], keep_punctuation), text)
        if shorter == text:
            return text
        text = shorter


def _may_have_markup(text: str) -> bool:
    return any(character in text for character in "<[{(&")


def _without_entities(text: str) -> str:
    for _ in range(_DECODED_AT_MOST):
        text = _ENTITY.sub(lambda match: html.unescape(match[0]), text)
    return text


def _replacement(annotation: str, keep_punctuation: bool) -> str:
    mark = _PUNCTUATION.get(annotation.upper(), "") if keep_punctuation else ""
    return f"{mark} "
