"""A hash of what is in data set folders, wherever they lie."""

from hashlib import blake2b
from typing import Any

import numpy as np

from asrscale.data.catalog import Catalog
from asrscale.data.index import read_shards

CHUNK_SHARDS = 64  # read at a time, so that an index of millions of utterances needs little memory
CONTENT_BYTES = 8  # of the hash: it tells a handful of data sets apart, and is no protection against forgery


class _ColumnHash:
    """The hash of a column of strings, which may come in pieces of any size."""

    def __init__(self) -> None:
        self._lengths = blake2b()
        self._utf8 = blake2b()

    def add(self, strings: Any) -> None:
        """Adds an Arrow array of large strings."""
        _, offsets_buffer, utf8 = strings.buffers()
        last = strings.offset + len(strings) + 1
        offsets = np.frombuffer(offsets_buffer, np.int64)[strings.offset : last]
        self._lengths.update(np.diff(offsets).astype("<i8").tobytes())
        self._utf8.update(utf8[int(offsets[0]) : int(offsets[-1])])

    def digest(self) -> bytes:
        """Returns the hash of all that was added."""
        return self._lengths.digest() + self._utf8.digest()


def hash_content(catalog: Catalog) -> str:
    """Returns a hash that differs where what a run learns from differs: sound, transcripts, their order and division.

    It follows from the index, which has a checksum of each utterance's sound, and from nothing that copying, moving or
    linking the folders changes. Reads all of the index: some seconds for ten million utterances.

    Raises:
        CliError: As `read_shards`.
    """
    keys = _ColumnHash()
    texts = _ColumnHash()
    sounds = blake2b()
    division = blake2b(catalog.utterances.astype("<i8").tobytes())
    lengths = blake2b()
    for first in range(0, len(catalog.shards), CHUNK_SHARDS):
        shards = range(first, min(first + CHUNK_SHARDS, len(catalog.shards)))
        index = read_shards(catalog, shards)
        if not len(index):
            continue
        keys.add(index.keys)
        texts.add(index.texts)
        lengths.update(index.num_samples.astype("<i8").tobytes())
        sounds.update(index.crc32.astype("<u4").tobytes())
    parts = [division.digest(), keys.digest(), texts.digest(), lengths.digest(), sounds.digest()]
    return blake2b(b"".join(parts), digest_size=CONTENT_BYTES).hexdigest()
