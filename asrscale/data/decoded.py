"""The samples of a small corpus, kept in memory once they are read and decoded, for all epochs after the first.

Decoding takes a tenth of the processor's time where a model is small, and reading asks a shared file system for the
same bytes in each epoch. A corpus that is too large is read anew: a part of it would help as little as it is small.

Shapes: T samples.
"""

from dataclasses import dataclass, field

from asrscale.data.catalog import Catalog
from asrscale.data.index import Index
from asrscale.speech.pcm import Pcm

KEPT_BYTES = 512 * 1024 * 1024  # of a rank: 4.7 hours of audio
_BYTES_PER_SAMPLE = 2


@dataclass(frozen=True, eq=False)
class Decoded:
    """Samples by shard and offset, as they were recorded. Threads may find and keep at once."""

    _samples: dict[tuple[str, int], Pcm] = field(default_factory=dict)

    def find(self, index: Index, utterance: int) -> Pcm | None:
        """Returns (T,) the samples of an utterance that was kept, which nobody may change; None without."""
        return self._samples.get(_place(index, utterance))

    def keep(self, index: Index, utterance: int, samples: Pcm) -> None:
        """Keeps (T,) the samples of an utterance, which nobody may change from now on."""
        samples.flags.writeable = False
        self._samples[_place(index, utterance)] = samples


def decoded_of(catalog: Catalog) -> Decoded | None:
    """Returns where the samples of a corpus are kept, if all of them fit into KEPT_BYTES; else None."""
    decoded_bytes = int(catalog.samples.sum()) * _BYTES_PER_SAMPLE
    return Decoded() if decoded_bytes <= KEPT_BYTES else None


def _place(index: Index, utterance: int) -> tuple[str, int]:
    """Returns the shard and offset of an utterance, whose number may be another in another index."""
    return index.shards[index.shard_ids[utterance]], int(index.offsets[utterance])
