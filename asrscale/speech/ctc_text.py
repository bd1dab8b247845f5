"""The best path of a CTC head to text and words, by one rule for every checkpoint.

Tokenizers add to what a model says and take away from it: `clean_up_tokenization_spaces` joins "kom 's avonds", and the
name of an unknown token becomes five letters of a word. Here, the text of a path is its words joined by spaces.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from asrscale.speech.characters import UNKNOWN_MARK
from asrscale.speech.vocabulary import Vocabulary


@dataclass(frozen=True)
class SpokenWord:
    """A word of a path, and the frames it is in: from `start_frame` to before `end_frame`."""

    text: str
    start_frame: int
    end_frame: int


def text_of_path(path: Sequence[int], vocabulary: Vocabulary) -> str:
    """Returns the text of a path, a token id for each frame; UNKNOWN_MARK stands for a token that is no text."""
    return " ".join(word.text for word in words_of_path(path, vocabulary))


def words_of_path(path: Sequence[int], vocabulary: Vocabulary) -> list[SpokenWord]:
    """Returns the words of a path: repeated tokens are one, blanks are nothing, the word delimiter ends a word."""
    words: list[SpokenWord] = []
    pieces: list[str] = []
    start_frame = end_frame = frame = 0
    for id, repeated in groupby(path):
        first_frame = frame
        frame += sum(1 for _ in repeated)
        if id == vocabulary.blank_id:
            continue
        piece = _piece(id, vocabulary)
        if pieces and (vocabulary.spaced or not piece):
            words.append(SpokenWord("".join(pieces), start_frame, end_frame))
            pieces = []
        if piece:
            start_frame = start_frame if pieces else first_frame
            end_frame = frame
            pieces.append(piece)
    if pieces:
        words.append(SpokenWord("".join(pieces), start_frame, end_frame))
    return words


def _piece(id: int, vocabulary: Vocabulary) -> str:
    """Returns what a token adds to its word; "" for one that ends it."""
    if id in vocabulary.special_ids:
        return UNKNOWN_MARK
    if id == vocabulary.delimiter_id:
        return ""
    token = vocabulary.tokens[id].strip()
    return token.lower() if vocabulary.lower_cased else token
