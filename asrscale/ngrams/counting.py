"""Counts of the n-grams of a corpus, of all orders, in files.

An n-gram is known by its row among those of its order, which are sorted by their keys: the row of its first n - 1
words among the n-grams of the order below, and its last word. So one whole number is enough for n-grams of any order,
and what begins with the same words lies together.

Shapes: T words of the corpus, G n-grams of an order.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asrscale.ngrams.array_files import Keys, map_file, write_array
from asrscale.ngrams.corpus import Corpus
from asrscale.ngrams.model import word_bits
from asrscale.ngrams.sorting import CountedKeys, count_keys
from asrscale.ngrams.tokens import SENTENCE_START

CHUNK = 1 << 22  # words or n-grams that are in memory at once: 32 MB each of their keys, rows and counts

NO_ROW = -1  # where no n-gram of the order ends, such as behind the first word of a sentence


@dataclass(frozen=True, eq=False)
class Order:
    """The n-grams of an order, sorted by what they begin with; those of order 1 are the words by their ids.

    Attributes:
        prefixes: (G,) row of the first n - 1 words among the order below; zero for words.
        last_words: (G,) ids.
        suffixes: (G,) row of the last n - 1 words among the order below; zero for words.
        counts: (G,) how often each occurs.
        own_start: The rows of those that begin with the mark of a sentence's beginning.
    """

    prefixes: Keys
    last_words: Keys
    suffixes: Keys
    counts: Keys
    own_start: slice

    def __len__(self) -> int:
        return len(self.counts)


def chunks(length: int) -> Iterator[slice]:
    """Yields the parts of so many rows that are in memory one after another."""
    for start in range(0, length, CHUNK):
        yield slice(start, min(start + CHUNK, length))


def count_orders(corpus: Corpus, order: int, folder: Path) -> list[Order]:
    """Counts the n-grams of a corpus, of the orders from 1 to `order`, with files in `folder`.

    Files that are read no more are deleted on the way: of large texts they are a third of all.
    """
    bits = word_bits(len(corpus.words))
    words = _count_words(corpus)
    orders = [words]
    rows = corpus.ids  # where the n-gram of the order below that ends at each word is
    table: CountedKeys | None = None
    for n in range(2, order + 1):
        path = folder / f"order-{n}"
        below = table
        table = count_keys(_keys(rows, corpus.ids, bits), path)
        orders.append(_describe(table, below, orders[-1], path, bits))
        if n < order:
            rows = _write_rows(table, rows, corpus.ids, path.with_suffix(".rows"), bits)
        for ending in ("keys", "rows"):
            (folder / f"order-{n - 1}.{ending}").unlink(missing_ok=True)
    return orders


def _count_words(corpus: Corpus) -> Order:
    counts = np.zeros(len(corpus.words), np.int64)
    for part in chunks(len(corpus.ids)):
        counts += np.bincount(corpus.ids[part], minlength=len(counts))
    nothing = np.zeros(len(counts), np.int64)
    own_start = slice(SENTENCE_START, SENTENCE_START + 1)
    return Order(nothing, np.arange(len(counts)), nothing, counts, own_start)


def _keys(rows: Keys, words: Keys, bits: int) -> Iterator[Keys]:
    """Yields the keys of the n-grams that end in each part of a corpus.

    Args:
        rows: (T,) where the (n - 1)-gram that ends at each word is; NO_ROW where there is none.
        words: (T,) ids.
        bits: Of a key, for the last word.
    """
    for part in chunks(len(words)):
        keys = _keys_of_part(rows, words, part, bits)
        yield keys[keys != NO_ROW]


def _keys_of_part(rows: Keys, words: Keys, part: slice, bits: int) -> Keys:
    """Returns the key of the n-gram that ends at each word of a part; NO_ROW where there is none."""
    is_first = part.start == 0
    before = rows[part.start - (not is_first) : part.stop - 1]
    if is_first:
        before = np.concatenate([[NO_ROW], before])
    last = words[part]
    has_ngram = (before != NO_ROW) & (last != SENTENCE_START)
    return np.where(has_ngram, before << bits | last, NO_ROW)


def _write_rows(table: CountedKeys, rows: Keys, words: Keys, path: Path, bits: int) -> Keys:
    """Writes where the n-gram that ends at each word of the corpus is in its table; NO_ROW where there is none."""
    with path.open("wb") as file:
        for part in chunks(len(words)):
            keys = _keys_of_part(rows, words, part, bits)
            has_ngram = keys != NO_ROW
            keys[has_ngram] = table.rows_of(keys[has_ngram])
            write_array(keys, file)
    return map_file(path)


def _describe(table: CountedKeys, below: CountedKeys | None, order_below: Order, path: Path, bits: int) -> Order:
    """Returns the n-grams of a table.

    Args:
        table: Theirs.
        below: Of the order below; None where that is of the words.
        order_below: Described.
        path: For files with other endings.
        bits: Of a key, for the last word.
    """
    names = ("prefixes", "last_words", "suffixes")
    files = [path.with_suffix(f".{name}") for name in names]
    with files[0].open("wb") as prefix_file, files[1].open("wb") as word_file, files[2].open("wb") as suffix_file:
        for part in chunks(len(table.keys)):
            prefixes = table.keys[part] >> bits
            last_words = table.keys[part] & ((1 << bits) - 1)
            suffixes = last_words
            if below is not None:
                suffixes = below.rows_of(order_below.suffixes[prefixes] << bits | last_words)
            write_array(prefixes, prefix_file)
            write_array(last_words, word_file)
            write_array(suffixes, suffix_file)
    prefixes, last_words, suffixes = map(map_file, files)
    start = order_below.own_start
    first, end = np.searchsorted(prefixes, [start.start, start.stop])
    return Order(prefixes, last_words, suffixes, table.counts, slice(int(first), int(end)))
