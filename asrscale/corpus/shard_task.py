"""What a worker process needs to build one shard."""

from dataclasses import dataclass

from asrscale.corpus.checks import Rules
from asrscale.corpus.payload import Storage
from asrscale.sources.recordings import AudioRoot
from asrscale.sources.rows import Row


@dataclass(frozen=True)
class Task:
    """One shard to build: the tar `path` of `rows` in their order, with keys that start with `split`.

    Name, fields and their order are part of the hash that is recorded of a shard (`hash_dependencies`): where one
    changes, interrupted builds of older versions begin anew.

    Attributes:
        path: The tar.
        split: Name of the split.
        rows: The rows to store.
        audio_root: Folder or URL, or several, that their recordings lie below.
        rules: What a recording and its transcript have to be.
        codec: What the audio is stored as; `original` keeps the bytes of its file, `in_place` even its tar.
        stop: Whether a row over which our code raises ends the build; else it is rejected.
        deaths: For each time that a worker died over this shard, the number of the row in hand.
        refused: Rows that are in no shard, to be listed with this one's rejects.
    """

    path: str
    split: str
    rows: tuple[Row, ...]
    audio_root: AudioRoot
    rules: Rules
    codec: Storage = "flac"
    stop: bool = False
    deaths: tuple[int, ...] = ()
    refused: tuple[Row, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)
