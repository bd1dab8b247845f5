"""Whisper's English normaliser, by which published English error rates are compared: `evaluate --normalizer english`.

It is transformers' own EnglishTextNormalizer. Its list of British and American spellings is in no file of transformers
but in those of Whisper's models; the package whisper-normalizer has the same list.
"""

import importlib.util
import json
from collections.abc import Callable, Mapping
from importlib.metadata import version
from importlib.resources import files
from typing import TypeAlias

from asrscale.common.errors import CliError
from asrscale.data.index import Index
from asrscale.speech.languages import short_code
from asrscale.speech.normalisation import with_unknown_marks

TextNormalizer: TypeAlias = Callable[[str], str]

# Of letters: English has others in foreign words only, and most languages with Latin letters have more of them.
LEAST_ENGLISH_SHARE = 0.99


def check_english(folder: str, references: Index) -> None:
    """Checks, before any work, that the normaliser is here and means the language of a data set.

    Raises:
        CliError: whisper-normalizer is missing, or the references are not in English.
    """
    if importlib.util.find_spec("whisper_normalizer") is None:
        raise CliError(
            "--normalizer english needs the spellings of whisper-normalizer: pip install 'asrscale[english]'"
        )
    for rules in references.text_rules:
        if rules.form == "characters":
            raise CliError(f"--normalizer english: {folder} has labels between spaces and no words: leave it out")
        if rules.language and short_code(rules.language) != "en":
            raise CliError(f"--normalizer english: {folder} is in the language '{rules.language}': leave it out")
    share = share_of_english_letters(references.characters)
    is_known = all(rules.language for rules in references.text_rules)
    if not is_known and share < LEAST_ENGLISH_SHARE:
        raise CliError(
            f"--normalizer english: {folder} names no language and only {share:.0%} of its letters are a to z: leave "
            "it out, or build the shards with --language en if they are in English"
        )


def share_of_english_letters(characters: Mapping[str, int]) -> float:
    """Returns the share of letters, by how often each character occurs, that are a to z."""
    letters = {one: count for one, count in characters.items() if one.isalpha()}
    english = sum(count for one, count in letters.items() if one.isascii())
    return english / max(1, sum(letters.values()))


def english_normalizer() -> TextNormalizer:
    """Returns Whisper's English normaliser, to which the mark of unknown tokens is a letter."""
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    spellings = files("whisper_normalizer").joinpath("normalizers", "english.json").read_text("utf-8")
    normalizer = EnglishTextNormalizer(json.loads(spellings))
    return lambda text: with_unknown_marks(text, lambda marked: str(normalizer(marked)).strip())


def describe_english() -> str:
    """Returns what the normaliser is, and what it is given, as one line."""
    return (
        f"EnglishTextNormalizer of transformers {version('transformers')}, Whisper's, with the spellings of "
        f"whisper-normalizer {version('whisper-normalizer')}; of transcripts as they are in the shards"
    )
