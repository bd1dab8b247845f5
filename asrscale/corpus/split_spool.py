"""The rows of one split, in a temporary file."""

import json
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

from asrscale.corpus.assemble import Plan
from asrscale.corpus.checks import Rules
from asrscale.corpus.rows import Row


@dataclass(frozen=True)
class Split:
    """A data set folder to be, with all that its bytes depend on except the recordings themselves."""

    folder: Path
    source: str
    audio_root: str
    rules: Rules
    settings: dict[str, Any]
    spool: IO[bytes]
    rows: "array[int]" = field(default_factory=lambda: array("Q"))  # where each starts in `spool`, a JSON line
    order: "array[int]" = field(default_factory=lambda: array("Q"))  # a hash of each: so they fill the shards
    refused: "array[int]" = field(default_factory=lambda: array("Q"))  # where rows start that are in no shard

    def add(self, row: Row) -> None:
        """Spools a row; its place is decided before anything is decoded, so that no reject moves another row."""
        salted = f"{self.settings['seed']} {self.folder.name} {row.line}"
        (self.refused if row.refused else self.rows).append(self.spool.tell())
        if not row.refused:
            self.order.append(int.from_bytes(blake2b(salted.encode(), digest_size=16).digest()[:8], "big"))
        self.spool.write(json.dumps([*vars(row).values()]).encode() + b"\n")

    def read(self, positions: Any) -> Iterator[Row]:
        """Rows from the spool."""
        for position in positions:
            self.spool.seek(position)
            yield Row(*json.loads(self.spool.readline()))

    def plan(self) -> Plan:
        """What is left to know once the shards are there."""
        name, size = self.folder.name, self.settings["shard_utterances"]
        files = [f"{name}-{number:06d}.tar" for number in range(-(-len(self.rows) // size))]
        return {"name": name, "source": self.source, "options": self.settings, "shards": files}
