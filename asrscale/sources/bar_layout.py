"""What the fields behind the id mean in a table like LJSpeech's, which has bars between them and no header.

LJSpeech has `id|text|normalised text`; corpora of several speakers have `id|text|speaker` or `id|speaker|text`. The
names of speakers must not become transcripts, so the content decides.
"""

import re
import sys
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from itertools import islice
from typing import Literal, TypeAlias

from asrscale.common.errors import CliError
from asrscale.speech.normalisation import normalise

BarLayout: TypeAlias = Literal["text|normalised", "text|speaker", "speaker|text"]

LOOKED_AT_ROWS = 10_000

# Two spellings of a sentence share most of their words; where numbers are written out, at least half of them. Those of
# a script without spaces share most of their characters.
_SHARED_WORDS = 0.5
_SHARED_CHARACTERS = 0.7

_LABEL = re.compile(r"[\w-]{1,40}")
_FEW_ROWS = 10  # of which each may have a speaker of its own


def layout_of_bars(path: str, records: Iterable[tuple[int, list[str]]]) -> BarLayout:
    """Returns what the fields behind the id mean; prints so where one of them is the speaker.

    Args:
        path: The table, for messages.
        records: The line and the fields of each of its records.

    Raises:
        CliError: It is not clear: the third field is neither like the second nor are the fields of one of them labels.
    """
    looked_at = islice(records, LOOKED_AT_ROWS)
    rows = [(line, fields[1].strip(), fields[2].strip()) for line, fields in looked_at if len(fields) == 3]
    full_rows = [row for row in rows if row[1] and row[2]]
    num_alike = sum(_is_same_sentence(second, third) for _, second, third in full_rows)
    if 2 * num_alike >= len(full_rows):
        return "text|normalised"

    second_fields = [second for _, second, _ in full_rows]
    third_fields = [third for _, _, third in full_rows]
    are_labels = (_are_labels(second_fields), _are_labels(third_fields))
    line, second, third = full_rows[0]
    if are_labels == (False, True):
        print(f"{path}: the third field between bars is the speaker, such as '{third}'", file=sys.stderr)
        return "text|speaker"
    if are_labels == (True, False):
        print(f"{path}: the second field between bars is the speaker, such as '{second}'", file=sys.stderr)
        return "speaker|text"
    unclear = f"it is not clear which of '{second}' and '{third}' is the text"
    raise CliError(f"{path} line {line}: {unclear}: write a first line that says so, such as filename|text|speaker")


def _is_same_sentence(one: str, other: str) -> bool:
    """Whether two fields are spellings of the same sentence."""
    one_words, other_words = set(normalise(one).split()), set(normalise(other).split())
    fewer_words = min(len(one_words), len(other_words))
    if len(one_words & other_words) >= _SHARED_WORDS * max(1, fewer_words):
        return True
    if fewer_words > 1:
        return False
    return SequenceMatcher(None, normalise(one), normalise(other)).quick_ratio() >= _SHARED_CHARACTERS


def _are_labels(fields: Sequence[str]) -> bool:
    """Whether fields are names of speakers rather than transcripts: single words, and the same again and again."""
    num_names = len(set(fields))
    are_words = all(_LABEL.fullmatch(field) for field in fields)
    if are_words:
        return len(fields) <= _FEW_ROWS or 2 * num_names <= len(fields)
    return len(fields) > _FEW_ROWS and 5 * num_names <= len(fields)
