"""The words of a language model: what stands between spaces, and each character of scripts that write none.

In Chinese or Thai, what stands between spaces is a phrase or a whole sentence, which hardly occurs twice.
"""

import regex

from asrscale.speech.characters import UNSPACED

UNKNOWN, SENTENCE_START, SENTENCE_END = 0, 1, 2  # ids of the words that every model has
SPECIAL_WORDS = ("<unk>", "<s>", "</s>")

_UNSPACED_CHARACTER = regex.compile(rf"[{UNSPACED}]", regex.V1)
_WORD = regex.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+", regex.V1)


def words_of(text: str) -> list[str]:
    """Returns the words of a normalised text; those named as a model's own, such as `<s>`, are none."""
    words: list[str] = text.split() if text.isascii() else _WORD.findall(text)
    if "<" in text:
        return [word for word in words if word not in SPECIAL_WORDS]
    return words


def is_word_by_itself(token: str) -> bool:
    """Whether a token of a vocabulary is a character of a script without spaces."""
    return _UNSPACED_CHARACTER.match(token) is not None
