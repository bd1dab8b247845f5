"""Files of hot words: a phrase on a line, and perhaps a tab and its weight."""

import math
from pathlib import Path
from typing import TypeAlias

from asrscale.common.errors import CliError
from asrscale.speech.normalisation import TextRules, normalise
from asrscale.speech.vocabulary import Vocabulary

DEFAULT_WEIGHT = 8.0  # nats for a whole phrase


Phrases: TypeAlias = dict[str, float]  # the weight of each, by its normalised text


def read_hot_words(file: str, rules: TextRules, vocabulary: Vocabulary) -> tuple[Phrases, list[str]]:
    """Returns the weight of each phrase by its normalised text, and a line about each that is left out.

    Args:
        file: In UTF-8; empty lines, and those that begin with #, are none.
        rules: How phrases are normalised: as the model's transcripts are.
        vocabulary: A phrase with characters that have no token is left out.

    Raises:
        CliError: It cannot be read, a weight is no number, or no phrase is left.
    """
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"--hot_words {file} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    phrases: Phrases = {}
    notes: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        phrase, _, weight = line.partition("\t")
        text = normalise(phrase, rules)
        unknown = vocabulary.unknown_characters(text)
        if unknown or not vocabulary.encode(text):
            why = f"the model has no token for {', '.join(unknown)}" if unknown else "it has no word"
            notes.append(f"--hot_words {file}, line {number:,} is left out: {why}")
        else:
            phrases[text] = _weight(file, number, weight)
    if not phrases:
        raise CliError(f"--hot_words {file} has no phrase that the model can spell: write one on a line")
    return phrases, notes


def _weight(file: str, number: int, text: str) -> float:
    try:
        weight = float(text) if text.strip() else DEFAULT_WEIGHT
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight):
        raise CliError(f"--hot_words {file}, line {number:,}: its weight '{text[:20]}' is no number, such as 8")
    return weight
