"""Normalised text to labels, in the form that a checkpoint's own vocabulary has: the tokens of a CTC head."""

import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import regex

# Forms of the apostrophe and its kin, of which a vocabulary has one; Hebrew's geresh and gershayim may be typed as
# quotes, too.
_APOSTROPHES = "'\u2019\u02bc\u02bb\u2018`\u00b4"
_OTHER_FORMS = {
    **dict.fromkeys(_APOSTROPHES, _APOSTROPHES),
    "\u05f3": "'\u2019",
    "\u05f4": '"\u201d',
    "-": "\u2010\u2011",
    "·": "\u2022\u2027",
}


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a CTC head: a token's id is its position, text without a token is `unknown`.

    dataset.json hashes the representation of a vocabulary: it has the fields of older versions only.

    Attributes:
        tokens: All of them, each once.
        blank: CTC's blank, which Hugging Face tokenizers call the pad token.
        unknown: Stands for what has no token; "" where the head has no such token.
        word_delimiter: Stands for the space; "" where the head has no such token.
        special: Further tokens that are no text, such as <s> and </s>.
        spaced: Whether the labels of a text stand between spaces, as phones do; then the space has no label.
        lower_cased: Whether text is written in small letters, whatever the case of the tokens.
    """

    tokens: tuple[str, ...]
    blank: str = "[PAD]"
    unknown: str = "[UNK]"
    word_delimiter: str = "|"
    special: tuple[str, ...] = field(default=(), repr=False)
    spaced: bool = field(default=False, repr=False)
    lower_cased: bool = field(default=False, repr=False)

    @cached_property
    def blank_id(self) -> int:
        """Returns the id of `blank`."""
        return self.tokens.index(self.blank)

    @cached_property
    def unknown_id(self) -> int | None:
        """Returns the id of `unknown`, or None where there is none."""
        return self.tokens.index(self.unknown) if self.unknown else None

    @property
    def any_label_id(self) -> int:
        """Returns an id that may be a label: that of `unknown` where there is one."""
        if self.unknown_id is not None:
            return self.unknown_id
        return 0 if self.blank_id else 1

    @cached_property
    def delimiter_id(self) -> int | None:
        """Returns the id of `word_delimiter`, or None where there is none."""
        return self.tokens.index(self.word_delimiter) if self.word_delimiter else None

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Returns the ids of tokens that are no text: all special ones but the blank and the word delimiter."""
        special = {self.unknown, *self.special} - {self.blank, self.word_delimiter, ""}
        return frozenset(self.tokens.index(token) for token in special)

    @cached_property
    def case(self) -> Literal["upper", "lower", "as_is"]:
        """Returns the case of most of its letters, or as_is where it has equally many of both."""
        letters = [token for token in self._text_ids if token.lower() != token.upper()]
        upper = sum(letter == letter.upper() for letter in letters)
        lower = sum(letter == letter.lower() for letter in letters)
        if upper == lower:
            return "as_is"
        return "upper" if upper > lower else "lower"

    @property
    def has_long_tokens(self) -> bool:
        """Whether tokens stand for several characters, as those of digraphs do."""
        return self._longest is not None

    def encode(self, text: str) -> list[int]:
        """Returns the labels of normalised `text`: what has no token is the unknown one, or nothing without that."""
        labels: list[int] = []
        for _, ids in self._pieces(text):
            if ids:
                labels += ids
            elif self.unknown_id is not None:
                labels.append(self.unknown_id)
        return labels

    def unknown_characters(self, text: str) -> Counter[str]:
        """Counts the characters of `text`, cased as the vocabulary is, that have no token."""
        return Counter(self._as_spelled(piece) for piece, ids in self._pieces(text) if not ids)

    def twins(self, other: "Vocabulary") -> dict[int, int]:
        """Maps the ids of tokens that `other` has too to their ids there.

        Text matches whatever its case and its Unicode form; special tokens match by their role.
        """
        pairs: dict[int, int] = {}
        for text, id in self._text_ids.items():
            ids_there = other.encode(text)
            # A character may become several in the other case: ß becomes SS.
            if len(ids_there) == 1 and ids_there != [other.unknown_id]:
                pairs[id] = ids_there[0]
        for own_id, id_there in zip(self._ids_by_role, other._ids_by_role, strict=True):
            if own_id is not None and id_there is not None:
                pairs[own_id] = id_there
        return pairs

    @property
    def _ids_by_role(self) -> tuple[int | None, int | None, int | None]:
        return (self.blank_id, self.unknown_id, self.delimiter_id)

    @cached_property
    def _text_ids(self) -> dict[str, int]:
        """Maps the texts of tokens in NFC to their ids; special tokens have none, even where one is a single letter."""
        no_text = {self.blank_id, self.unknown_id, self.delimiter_id, *self.special_ids}
        ids: dict[str, int] = {}
        for id, token in enumerate(self.tokens):
            if id not in no_text:
                ids.setdefault(unicodedata.normalize("NFC", token), id)
        return ids

    @cached_property
    def _small_ids(self) -> dict[str, int]:
        """Maps the texts of tokens in small letters to their ids; where a vocabulary has İ and I, as in Turkish."""
        if self.case == "as_is":
            return {}
        is_turkic = "İ" in self._text_ids and "I" in self._text_ids
        ids: dict[str, int] = {}
        for text, id in self._text_ids.items():
            small = text.replace("I", "ı").replace("İ", "i") if is_turkic else text
            ids.setdefault(small.lower(), id)
        return ids

    @cached_property
    def _characters(self) -> dict[str, tuple[int, ...]]:
        """Maps characters to their labels, as far as they have been asked for; without any, a character is unknown."""
        space = () if self.delimiter_id is None else (self.delimiter_id,)
        return {" ": space}

    @cached_property
    def _longest(self) -> "regex.Pattern[str] | None":
        """Matches the tokens of several characters, the longest first; None where there are none."""
        texts = [text for text in self._small_ids or self._text_ids if len(text) > 1]
        if not texts:
            return None
        return regex.compile("|".join(map(regex.escape, sorted(texts, key=len, reverse=True))))

    def _pieces(self, text: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yields the pieces of a text that have labels, or no token, and their labels: the longest tokens first."""
        text = unicodedata.normalize("NFC", text)
        if self.spaced:
            for label in text.split():
                yield label, self._labels_of(label)
            return
        end = 0
        for match in self._longest.finditer(self._small(text)) if self._longest else ():
            yield from ((character, self._labels_of(character)) for character in text[end : match.start()])
            yield match[0], self._labels_of(match[0])
            end = match.end()
        yield from ((character, self._labels_of(character)) for character in text[end:])

    def _small(self, text: str) -> str:
        """Returns a text as long in small letters, where tokens are looked for in these."""
        small = text.lower()
        return small if self._small_ids and len(small) == len(text) else text

    def _labels_of(self, text: str) -> tuple[int, ...]:
        """Returns the labels of a character, or of a text with a token of its own; () where it has none."""
        labels = self._characters.get(text)
        if labels is None:
            labels = self._characters[text] = self._find_labels(text)
        return labels

    def _find_labels(self, text: str) -> tuple[int, ...]:
        for form in (text, *_OTHER_FORMS.get(text, "")):
            if form in self._text_ids:
                return (self._text_ids[form],)
        if text == "ı" and "ı" not in self._small_ids:
            return ()  # its capital would be I, which here is that of i
        for form in (text, text.lower(), text.upper().lower()):
            if form in self._small_ids:
                return (self._small_ids[form],)
        if self.case == "upper" and all(capital.lower() in self._small_ids for capital in text.upper()):
            return tuple(self._small_ids[capital.lower()] for capital in text.upper())  # ß as SS
        parts = unicodedata.normalize("NFD", text)
        if parts == text:
            return ()
        labels = [self._labels_of(part) for part in parts]
        return tuple(id for part in labels for id in part) if all(labels) else ()

    def _as_spelled(self, text: str) -> str:
        return text.upper() if self.case == "upper" else text


def build_vocabulary(characters: Iterable[str], *, spaced: bool = False) -> Vocabulary:
    """Returns the vocabulary of characters, or of whole texts.

    Its tokens are the apostrophe and a-z always, further characters in code point order, then `|`, `[UNK]`, `[PAD]`.

    Args:
        characters: Characters or texts; or, where `spaced`, labels such as phones, which alone become tokens.
        spaced: As in `Vocabulary`.
    """
    if spaced:
        return Vocabulary((*sorted(set(characters)), "[UNK]", "[PAD]"), word_delimiter="", spaced=True)
    standard = "'" + string.ascii_lowercase
    further = set("".join(characters)) - set(standard) - {" ", "|"}
    return Vocabulary((*standard, *sorted(further), "|", "[UNK]", "[PAD]"))
