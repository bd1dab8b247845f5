"""Recordings that have several transcripts, each of which would get the whole recording."""

from array import array
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np

from asrscale.sources.rows import Row


@dataclass(frozen=True)
class RepeatedRecordings:
    """Counts the recordings with several texts and no segments; keeps 16 bytes of each row.

    Attributes:
        recordings: For each row that is a whole recording, a hash of the recording.
        pairs: For each of these rows, a hash of recording and text.
    """

    recordings: "array[int]" = field(default_factory=lambda: array("Q"))
    pairs: "array[int]" = field(default_factory=lambda: array("Q"))

    def add(self, row: Row) -> None:
        """Adds a row, unless it is a segment or left out."""
        if row.start_seconds is not None or row.refused or row.unusable:
            return
        recording = f"{row.tar} {row.tar_offset} {row.audio} {row.extra.get('channel', '')}"
        self.recordings.append(_hash64(recording))
        self.pairs.append(_hash64(f"{recording}\n{row.text}"))

    def count(self) -> int:
        """Returns how many recordings have more than one text."""
        _, first_rows = np.unique(np.frombuffer(self.pairs, np.uint64), return_index=True)
        recordings = np.frombuffer(self.recordings, np.uint64)[first_rows]
        _, num_texts = np.unique(recordings, return_counts=True)
        return int(np.count_nonzero(num_texts > 1))


def _hash64(text: str) -> int:
    """Returns 64 bits of a hash."""
    return int.from_bytes(blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "big")
