"""Normalised text to labels: the vocabulary of a CTC head."""

import json
import re
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
        """Returns the id of `blank`."""
        return self.tokens.index(self.blank)

    @cached_property
    def unknown_id(self) -> int:
        """Returns the id of `unknown`."""
        return self.tokens.index(self.unknown)

    @cached_property
    def case(self) -> Literal["upper", "lower", "as_is"]:
        """Returns the one case of its letters, or as_is where it has both or neither."""
        letters = [token for token in self._character_ids if token.lower() != token.upper()]
        if letters and all(letter == letter.upper() for letter in letters):
            return "upper"
        if letters and all(letter == letter.lower() for letter in letters):
            return "lower"
        return "as_is"

    def encode(self, text: str) -> list[int]:
        """Returns the labels of normalised `text`, cased as the vocabulary is: one id a character."""
        return [self._character_ids.get(character, self.unknown_id) for character in self._cased(text)]

    def unknown_characters(self, text: str) -> Counter[str]:
        """Counts the characters of `text`, cased as the vocabulary is, that have no token."""
        return Counter(character for character in self._cased(text) if character not in self._character_ids)

    def twins(self, other: "Vocabulary") -> dict[int, int]:
        """Maps the ids of tokens that `other` has too to their ids there.

        Characters match whatever their case; special tokens match by their role.
        """
        pairs: dict[int, int] = {}
        for character, id in self._character_ids.items():
            ids_there = other.encode(character)
            # A character may become several in the other case: ß becomes SS.
            if character != " " and len(ids_there) == 1 and ids_there != [other.unknown_id]:
                pairs[id] = ids_there[0]
        for own_token, token_there in zip(self._special_tokens, other._special_tokens, strict=True):
            pairs[self.tokens.index(own_token)] = other.tokens.index(token_there)
        return pairs

    @property
    def _special_tokens(self) -> tuple[str, str, str]:
        return (self.blank, self.unknown, self.word_delimiter)

    @cached_property
    def _character_ids(self) -> dict[str, int]:
        """Maps characters of texts to ids; blank is not among them, even if a checkpoint spells it as one character."""
        special = self._special_tokens
        ids = {token: id for id, token in enumerate(self.tokens) if len(token) == 1 and token not in special}
        ids[" "] = self.tokens.index(self.word_delimiter)
        return ids

    def _cased(self, text: str) -> str:
        if self.case == "upper":
            return text.upper()
        if self.case == "lower":
            return text.lower()
        return text


def build_vocabulary(characters: Iterable[str]) -> Vocabulary:
    """Returns the vocabulary of characters, or of whole texts.

    Its tokens are the apostrophe and a-z always, further characters in code point order, then `|`, `[UNK]`, `[PAD]`.
    """
    standard = "'" + string.ascii_lowercase
    further = set("".join(characters)) - set(standard) - {" ", "|"}
    return Vocabulary((*standard, *sorted(further), "|", "[UNK]", "[PAD]"))


_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+(?<!\.json)", re.ASCII)  # OWNER/NAME


def read_vocabulary(path: str) -> Vocabulary:
    """Reads a vocab.json with `[PAD]` or `<pad>`, `[UNK]` or `<unk>`, and `|`.

    Raises:
        CliError: The file cannot be read, or is no such vocabulary.
    """
    try:
        ids = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        cure = "give the path of a vocab.json"
        if _HUB_ID.fullmatch(path):
            cure = (
                f"download the model first, as with hf download {path} --local-dir FOLDER, and give FOLDER/vocab.json"
            )
        raise CliError(f"--vocab {path} cannot be read (no such file): {cure}") from error
    except (OSError, ValueError) as error:
        raise CliError(f"--vocab {path} cannot be read ({error}): give the path of a vocab.json") from error
    if not isinstance(ids, dict) or not all(isinstance(id, int) for id in ids.values()):
        raise CliError(f"--vocab {path} holds no JSON object of tokens and their ids")
    # The first spellings are those of transformers' documentation, the second fairseq's.
    blank = "[PAD]" if "[PAD]" in ids else "<pad>"
    unknown = "[UNK]" if "[UNK]" in ids else "<unk>"
    return vocabulary_from_dict(ids, blank, unknown, word_delimiter="|")


def vocabulary_from_dict(token_to_id: Mapping[str, int], blank: str, unknown: str, word_delimiter: str) -> Vocabulary:
    """Returns the vocabulary of a checkpoint.

    Raises:
        CliError: The ids are not 0 to n-1, each once, or a special token is missing.
    """
    if set(token_to_id.values()) != set(range(len(token_to_id))):
        ids = f"0 to {len(token_to_id) - 1}, each once"
        raise CliError(f"the ids of the vocabulary are not {ids}, so letters would mix: repair its vocab.json")
    for role, token in (("blank", blank), ("unknown", unknown), ("word delimiter", word_delimiter)):
        if token not in token_to_id:
            raise CliError(f"the vocabulary has no token '{token}' for {role}: add it to its vocab.json")
    tokens = sorted(token_to_id, key=token_to_id.__getitem__)
    return Vocabulary(tuple(tokens), blank, unknown, word_delimiter)
