"""Normalised text to labels: the vocabulary of a CTC head."""

import json
import string
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from asrscale.common.errors import CliError


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a CTC head: a token's id is its position, a character without a token is `unknown`."""

    tokens: tuple[str, ...]
    blank: str = "[PAD]"  # Hugging Face tokenizers call CTC's blank the pad token
    unknown: str = "[UNK]"
    word_delimiter: str = "|"  # stands for the space

    @cached_property
    def blank_id(self) -> int:
        """The id of `blank`."""
        return self.tokens.index(self.blank)

    @cached_property
    def unknown_id(self) -> int:
        """The id of `unknown`."""
        return self.tokens.index(self.unknown)

    @cached_property
    def case(self) -> Literal["upper", "lower", "as_is"]:
        """The one case of its letters, or as_is where it has both or neither."""
        letters = [token for token in self._character_ids if token.lower() != token.upper()]
        if letters and all(letter == letter.upper() for letter in letters):
            return "upper"
        if letters and all(letter == letter.lower() for letter in letters):
            return "lower"
        return "as_is"

    def encode(self, text: str) -> list[int]:
        """Labels of normalised `text`: cased as the vocabulary is, one id a character."""
        return [self._character_ids.get(character, self.unknown_id) for character in self._cased(text)]

    def unknown_characters(self, text: str) -> Counter[str]:
        """Counts the characters of `text`, cased as the vocabulary is, that have no token."""
        return Counter(character for character in self._cased(text) if character not in self._character_ids)

    def twins(self, other: "Vocabulary") -> dict[int, int]:
        """The ids of tokens that `other` has too, case folded and by role for the special ones, to their ids there."""
        roles = ("blank", "unknown", "word_delimiter")
        special = {self.tokens.index(getattr(self, r)): other.tokens.index(getattr(other, r)) for r in roles}
        known = {id: other.encode(character) for character, id in self._character_ids.items() if character != " "}
        missing = [other.unknown_id]
        return {id: ids[0] for id, ids in known.items() if len(ids) == 1 and ids != missing} | special

    @cached_property
    def _character_ids(self) -> dict[str, int]:
        """Text characters to ids. Blank is none of them, even where a checkpoint spells it as one character."""
        special = (self.blank, self.unknown, self.word_delimiter)
        ids = {token: id for id, token in enumerate(self.tokens) if len(token) == 1 and token not in special}
        return {**ids, " ": self.tokens.index(self.word_delimiter)}

    def _cased(self, text: str) -> str:
        return text.upper() if self.case == "upper" else text.lower() if self.case == "lower" else text


def build_vocabulary(characters: Iterable[str]) -> Vocabulary:
    """The apostrophe and a-z always, further characters in code point order, then `|`, `[UNK]`, `[PAD]`."""
    standard = "'" + string.ascii_lowercase
    further = sorted(set("".join(characters)) - set(standard) - {" ", "|"})
    return Vocabulary((*standard, *further, "|", "[UNK]", "[PAD]"))


def read_vocabulary(path: str) -> Vocabulary:
    """The vocabulary of a vocab.json with `[PAD]` or `<pad>`, `[UNK]` or `<unk>`, and `|`; CliError if it is none."""
    try:
        ids = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CliError(f"--vocab {path} cannot be read ({error}): give shards, or the path of a vocab.json") from error
    if not isinstance(ids, dict) or not all(isinstance(id, int) for id in ids.values()):
        raise CliError(f"--vocab {path} holds no JSON object of tokens and their ids")
    # The first spellings are those of transformers' documentation, the second fairseq's.
    blank, unknown = ("[PAD]" if "[PAD]" in ids else "<pad>"), ("[UNK]" if "[UNK]" in ids else "<unk>")
    return vocabulary_from_dict(ids, blank, unknown, "|")


def vocabulary_from_dict(token_to_id: Mapping[str, int], blank: str, unknown: str, word_delimiter: str) -> Vocabulary:
    """The vocabulary of a checkpoint; CliError where ids are not 0..n-1, each once, or a special token is missing."""
    if set(token_to_id.values()) != set(range(len(token_to_id))):
        ids = f"0 to {len(token_to_id) - 1}, each once"
        raise CliError(f"the ids of the vocabulary are not {ids}, so letters would mix: repair its vocab.json")
    for role, token in (("blank", blank), ("unknown", unknown), ("word delimiter", word_delimiter)):
        if token not in token_to_id:
            raise CliError(f"the vocabulary has no token '{token}' for {role}: add it to its vocab.json")
    return Vocabulary(tuple(sorted(token_to_id, key=token_to_id.__getitem__)), blank, unknown, word_delimiter)
