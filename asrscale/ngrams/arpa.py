"""N-gram models as ARPA files, which KenLM, SRILM and other toolkits read and write. Owns pyarrow.

Shapes: G n-grams of an order.
"""

import gzip
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from asrscale.common.errors import CliError
from asrscale.ngrams.array_files import Keys
from asrscale.ngrams.model import EMPTY, Logs, NgramModel, word_bits
from asrscale.ngrams.tokens import SPECIAL_WORDS

_LINES = 1 << 18  # that are in memory at once

_UNKNOWN_LOG10 = -100.0  # of the unknown word where a file has none, as in KenLM


def write_arpa(model: NgramModel, file: BinaryIO) -> None:
    """Writes a model as ARPA."""
    sizes = "".join(f"ngram {n}={size}\n" for n, size in enumerate(model.sizes, 1))
    file.write(f"\\data\\\n{sizes}".encode())
    words = pa.array(model.words, pa.string())
    first_state = 1
    for n, size in enumerate(model.sizes, 1):
        file.write(f"\n\\{n}-grams:\n".encode())
        for start in range(first_state, first_state + size, _LINES):
            states = np.arange(start, min(start + _LINES, first_state + size))
            file.write(_lines(model, words, states, n))
        first_state += size
    file.write(b"\n\\end\\\n")


def _lines(model: NgramModel, words: pa.StringArray, states: Keys, n: int) -> bytes:
    """Returns the lines of some states of order `n`."""
    columns = _word_ids(model, states, n)
    text = pc.binary_join_element_wise(*(words.take(pa.array(ids)) for ids in columns), " ")
    parts = [_decimals(model.log10_probabilities[states]), text]
    if n < model.order:
        parts.append(_decimals(model.log10_backoffs[states]))
    lines = pc.binary_join_element_wise(*parts, "\t")
    return ("\n".join(lines.to_pylist()) + "\n").encode()


def _word_ids(model: NgramModel, states: Keys, n: int) -> list[Keys]:
    """Returns the ids of the words of states of order `n`, a column for each."""
    columns: list[Keys] = []
    for _ in range(n - 1):
        keys = model.keys[states - 1 - len(model.words)]
        columns.insert(0, keys & ((1 << model.bits) - 1))
        states = keys >> model.bits
    return [states - 1, *columns]


def _decimals(values: np.ndarray[tuple[int], np.dtype[np.float32]]) -> pa.StringArray:
    return pc.cast(pa.array(np.asarray(values)), pa.string())


def read_arpa(path: Path) -> NgramModel:
    """Reads an ARPA file, which may be packed by gzip.

    Raises:
        CliError: It is none, or damaged.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            lines = (line.rstrip("\r\n") for line in file)
            return _read(lines)
    except (OSError, ValueError, LookupError, EOFError) as error:
        raise CliError(f"--lm {path} is no ARPA file, or damaged: {' '.join(str(error).split())}") from error


def _read(lines: Iterator[str]) -> NgramModel:
    """Parses the lines of an ARPA file; raises ValueError where they are none."""
    sizes = _read_sizes(lines)
    words, log10_probabilities, log10_backoffs = _read_words(lines, sizes[0])
    sizes[0] = len(words)
    bits = word_bits(len(words))
    ids = {word: id for id, word in enumerate(words)}
    keys = [np.zeros(0, np.int64)]
    probabilities: list[Logs] = [np.array([0.0, *log10_probabilities], np.float32)]
    backoffs: list[Logs] = [np.array([0.0, *log10_backoffs], np.float32)]
    suffixes = [np.zeros(1 + len(words), np.int64)]
    for n, size in enumerate(sizes[1:], 2):
        known = _Known(np.concatenate(keys), bits, len(words), np.concatenate(suffixes))
        rows, own_probabilities, own_backoffs = _read_order(lines, n, size, ids, has_backoffs=n < len(sizes))
        own_keys = known.keys_of(rows)
        order = np.argsort(own_keys, kind="stable")
        if (np.diff(own_keys[order]) == 0).any():
            raise ValueError(f"one of the {n}-grams is there twice")
        keys.append(own_keys[order])
        probabilities.append(own_probabilities[order])
        if n < len(sizes):
            backoffs.append(own_backoffs[order])
            suffixes.append(known.suffixes_of(rows[order]))
    ending = next((line for line in lines if line.strip()), "nothing")
    if ending != "\\end\\":
        raise ValueError(f"'{ending[:40]}' follows the last n-gram, in place of \\end\\")
    return NgramModel(
        words=words,
        sizes=tuple(sizes),
        keys=np.concatenate(keys),
        log10_probabilities=np.concatenate(probabilities),
        log10_backoffs=np.concatenate(backoffs),
        suffixes=np.concatenate(suffixes),
    )


def _read_sizes(lines: Iterator[str]) -> list[int]:
    for line in lines:
        if line == "\\data\\":
            break
    else:
        raise ValueError("it has no line \\data\\")
    sizes: list[int] = []
    for line in lines:
        if not line.strip():
            break
        name, _, size = line.partition("=")
        if name.split() != ["ngram", str(len(sizes) + 1)]:
            raise ValueError(f"'{line[:40]}' is not how many {len(sizes) + 1}-grams there are")
        sizes.append(int(size))
    if not sizes:
        raise ValueError("it has no n-grams")
    return sizes


def _fields(lines: Iterator[str], n: int, size: int) -> Iterator[list[str]]:
    """Yields the log10 probability, the words and perhaps the log10 weight of backing off of each n-gram."""
    heading = next((line for line in lines if line.strip()), "")
    if heading != f"\\{n}-grams:":
        raise ValueError(f"'{heading[:40]}' is not the heading of the {n}-grams")
    count = 0
    for line in islice(lines, size):
        fields = line.split("\t")
        if not 2 <= len(fields) <= 3:
            raise ValueError(f"'{line[:40]}' is no {n}-gram: fields are separated by tabs")
        yield fields
        count += 1
    if count < size:
        raise ValueError(f"it ends after {count:,} of {size:,} {n}-grams")


def _read_words(lines: Iterator[str], size: int) -> tuple[list[str], list[float], list[float]]:
    """Returns all words, SPECIAL_WORDS first, with their log10 probabilities and weights."""
    found = dict.fromkeys(SPECIAL_WORDS, (_UNKNOWN_LOG10, 0.0))
    for fields in _fields(lines, 1, size):
        word = "<unk>" if fields[1] == "<UNK>" else fields[1]
        found[word] = (float(fields[0]), float(fields[2]) if len(fields) > 2 else 0.0)
    return list(found), [pair[0] for pair in found.values()], [pair[1] for pair in found.values()]


def _read_order(
    lines: Iterator[str], n: int, size: int, ids: dict[str, int], *, has_backoffs: bool
) -> tuple[Keys, Logs, Logs]:
    """Returns the (G, n) ids of the words of n-grams, and (G,) their log10 probabilities and weights."""
    rows = np.zeros((size, n), np.int64)
    probabilities = np.zeros(size, np.float32)
    backoffs = np.zeros(size if has_backoffs else 0, np.float32)
    for row, fields in enumerate(_fields(lines, n, size)):
        words = fields[1].split(" ")
        if len(words) != n:
            raise ValueError(f"'{fields[1][:40]}' is no {n}-gram")
        rows[row] = [ids["<unk>" if word == "<UNK>" else word] for word in words]
        probabilities[row] = float(fields[0])
        if has_backoffs and len(fields) > 2:
            backoffs[row] = float(fields[2])
    return rows, probabilities, backoffs


class _Known:
    """The n-grams of the orders that have been read."""

    def __init__(self, keys: Keys, bits: int, num_words: int, suffixes: Keys) -> None:
        self._keys = keys
        self._bits = bits
        self._num_words = num_words
        self._suffixes = suffixes

    def keys_of(self, rows: Keys) -> Keys:
        """Returns the (G,) keys of n-grams; raises ValueError where one continues an n-gram that is not there."""
        contexts = self._states_of(rows[:, :-1])
        if (contexts == EMPTY).any():
            raise ValueError(f"one of the {rows.shape[1]}-grams continues a {rows.shape[1] - 1}-gram that is not there")
        return contexts << self._bits | rows[:, -1]

    def suffixes_of(self, rows: Keys) -> Keys:
        """Returns the (G,) longest states that have the last words of n-grams."""
        suffixes = np.zeros(len(rows), np.int64)
        for first in range(1, rows.shape[1]):
            missing = np.flatnonzero(suffixes == EMPTY)
            suffixes[missing] = self._states_of(rows[missing, first:])
        return suffixes

    def _states_of(self, rows: Keys) -> Keys:
        """Returns the (G,) states of n-grams; EMPTY where there is none."""
        states = 1 + rows[:, 0]
        for words in rows[:, 1:].T:
            keys = states << self._bits | words
            places = self._keys.searchsorted(keys)
            is_found = (states != EMPTY) & (np.append(self._keys, -1)[places] == keys)
            states = np.where(is_found, 1 + self._num_words + places, EMPTY)
        return states


def is_arpa(path: Path) -> bool:
    """Whether a path is named as an ARPA file is."""
    return path.name.endswith((".arpa", ".arpa.gz", ".lm", ".lm.gz"))
