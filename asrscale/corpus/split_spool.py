"""A split to be built, whose rows wait in a temporary file until all rows of all splits are read."""

import json
import math
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from asrscale.corpus.checks import Rules
from asrscale.corpus.split_plan import SplitPlan
from asrscale.sources.recordings import AudioRoot
from asrscale.sources.rows import Row

UnsignedArray: TypeAlias = "array[int]"


def _empty_array() -> UnsignedArray:
    """Returns an array of 64-bit numbers: in a list each would take five times the memory."""
    return array("Q")


@dataclass(frozen=True)
class SpooledRows:
    """Rows in a temporary file, a line of JSON each; 16 bytes of each row are kept in memory.

    Attributes:
        file: The temporary file; the splits of a build share it.
        salt: With the row's line, decides its place among the rows.
        kept: For each row that goes into a shard, the byte of `file` where its line starts.
        order_keys: For each of `kept`, a hash: sorted by it, the rows fill the shards.
        refused: As `kept`, for the rows that go into no shard.
    """

    file: IO[bytes]
    salt: str
    kept: UnsignedArray = field(default_factory=_empty_array)
    order_keys: UnsignedArray = field(default_factory=_empty_array)
    refused: UnsignedArray = field(default_factory=_empty_array)

    def add(self, row: Row) -> None:
        """Adds a row; its place is decided before anything is decoded, so that no reject moves another row."""
        position = self.file.tell()
        if row.refused:
            self.refused.append(position)
        else:
            self.kept.append(position)
            self.order_keys.append(_hash64(f"{self.salt} {row.line}"))
        self.file.write(json.dumps([*vars(row).values()]).encode() + b"\n")

    def read(self, positions: Iterable[int]) -> Iterator[Row]:
        """Reads the rows that start at these bytes of the file."""
        for position in positions:
            self.file.seek(position)
            yield Row(*json.loads(self.file.readline()))

    def shuffled(self) -> NDArray[np.uint64]:
        """Returns the positions of the kept rows in the order in which they fill the shards."""
        order = np.argsort(np.frombuffer(self.order_keys, np.uint64), kind="stable")
        return np.frombuffer(self.kept, np.uint64)[order]

    def refuse_all_but(self, chosen: NDArray[np.bool_]) -> None:
        """Moves the kept rows that are not chosen to the refused ones."""
        positions = np.array(self.kept)
        order_keys = np.array(self.order_keys)
        self.refused.frombytes(positions[~chosen].tobytes())
        self.kept[:] = array("Q", positions[chosen].tobytes())
        self.order_keys[:] = array("Q", order_keys[chosen].tobytes())


@dataclass(frozen=True)
class Split:
    """A data set folder to be built, with all that its bytes depend on except the recordings themselves.

    Attributes:
        folder: The folder, named as the split.
        source: The file or folder that its rows come from.
        audio_root: Folder or URL, or several, that their recordings lie below.
        rules: What a recording and its transcript have to be.
        settings: The options for dataset.json: a folder that was built with others is not used.
        rows: Its rows.
        repeated_recordings: How many recordings of the source have several texts and no segments.
        language_is_given: Whether --language is, and not found in the corpus.
    """

    folder: Path
    source: str
    audio_root: AudioRoot
    rules: Rules
    settings: dict[str, Any]
    rows: SpooledRows
    repeated_recordings: int = 0
    language_is_given: bool = False

    def plan(self) -> SplitPlan:
        """Returns what is needed of the split once its shards are built."""
        name = self.folder.name
        num_shards = math.ceil(len(self.rows.kept) / self.settings["shard_utterances"])
        return SplitPlan(
            name=name,
            source=self.source,
            options=self.settings,
            shards=tuple(f"{name}-{number:06d}.tar" for number in range(num_shards)),
        )


def _hash64(text: str) -> int:
    """Returns 64 bits of a hash that is the same on every machine."""
    digest = blake2b(text.encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "big")
