"""The sentences of data sets and text files, as words of a language model."""

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from asrscale.common.errors import CliError
from asrscale.data.catalog import Catalog, read_catalog
from asrscale.data.index import read_shards
from asrscale.ngrams.tokens import words_of
from asrscale.speech.normalisation import NEUTRAL, TextRules, normalise

_LONGEST_LINE_BYTES = 1 << 24  # a file without line ends would fill the memory


def rules_of_data_sets(folders: Sequence[str]) -> TextRules | None:
    """Returns how the transcripts of data sets are normalised; None without any.

    Raises:
        CliError: A folder is no whole data set, or they are normalised in different ways.
    """
    rules = {folder: set(read_catalog([folder]).text_rules) for folder in folders}
    different = set().union(*rules.values()) if rules else set()
    if len(different) > 1:
        raise CliError(
            f"the transcripts of {', '.join(rules)} are normalised in different ways, and words of a language model in "
            "one: build their shards with the same flags, or give those of one kind"
        )
    return different.pop() if different else None


def sentences_of_data_sets(folders: Sequence[str]) -> Iterator[list[str]]:
    """Yields the transcripts of data sets; one shard's are in memory at a time."""
    if not folders:
        return
    catalog = read_catalog(folders)
    for shard in range(len(catalog.shards)):
        yield from _sentences_of_shard(catalog, shard)


def _sentences_of_shard(catalog: Catalog, shard: int) -> Iterator[list[str]]:
    index = read_shards(catalog, [shard])
    for text in index.texts.to_pylist():
        words = words_of(normalise(text, catalog.text_rules[shard]))
        if words:
            yield words


def sentences_of_files(files: Sequence[str], rules: TextRules = NEUTRAL) -> Iterator[list[str]]:
    """Yields the lines of text files that hold words, normalised.

    Args:
        files: In UTF-8, perhaps packed by gzip.
        rules: How lines are normalised.

    Raises:
        CliError: A file cannot be read, or holds what is no text.
    """
    for file in files:
        for number, line in _lines_of(file):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                cure = f"convert it, as in iconv -f ISO-8859-1 -t UTF-8 {file}"
                raise CliError(f"--text {file}, line {number:,}: not UTF-8 ({error.reason}): {cure}") from error
            words = words_of(normalise(text, rules))
            if words:
                yield words


def _lines_of(file: str) -> Iterator[tuple[int, bytes]]:
    """Yields the number and the bytes of each line of a file."""
    try:
        with _open(file) as opened:
            number = 0
            while line := opened.readline(_LONGEST_LINE_BYTES):
                number += 1
                if len(line) == _LONGEST_LINE_BYTES:
                    raise CliError(
                        f"--text {file}, line {number:,}: longer than {_LONGEST_LINE_BYTES:,} bytes: "
                        "write one sentence on a line"
                    )
                yield number, line
    except (OSError, EOFError) as error:
        raise CliError(f"--text {file} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _open(file: str) -> BinaryIO:
    return cast(BinaryIO, gzip.open(file)) if Path(file).suffix == ".gz" else open(file, "rb")
