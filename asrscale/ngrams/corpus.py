"""Sentences to a file of word ids, which the counting of n-grams reads.

Shapes: T words of all sentences, marks of their beginnings and ends among them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from asrscale.common.errors import CliError
from asrscale.ngrams.array_files import Keys, map_file, write_array
from asrscale.ngrams.tokens import SENTENCE_END, SENTENCE_START, SPECIAL_WORDS

_BUFFERED_WORDS = 1 << 20


@dataclass(frozen=True, eq=False)
class Corpus:
    """The text of a language model.

    Attributes:
        words: All different ones, beginning with SPECIAL_WORDS; the id of a word is its position.
        ids: (T,) sentences one behind another, each between SENTENCE_START and SENTENCE_END.
        sentences: How many.
    """

    words: list[str]
    ids: Keys = field(repr=False)
    sentences: int

    @property
    def running_words(self) -> int:
        """How many words the sentences have together."""
        return len(self.ids) - 2 * self.sentences


def write_corpus(sentences: Iterable[list[str]], path: Path) -> Corpus:
    """Writes the ids of all words of sentences to a file; the different words are in memory.

    Raises:
        CliError: There is no sentence.
    """
    id_of_word = {word: id for id, word in enumerate(SPECIAL_WORDS)}
    buffer: list[int] = []
    count = 0
    with path.open("wb") as file:
        for sentence in sentences:
            buffer.append(SENTENCE_START)
            buffer += [id_of_word.setdefault(word, len(id_of_word)) for word in sentence]
            buffer.append(SENTENCE_END)
            count += 1
            if len(buffer) >= _BUFFERED_WORDS:
                write_array(np.array(buffer, np.int64), file)
                buffer.clear()
        write_array(np.array(buffer, np.int64), file)
    if not count:
        raise CliError("the text has no sentence left, so there is nothing to count: give more --data or --text")
    return Corpus(list(id_of_word), map_file(path), count)
