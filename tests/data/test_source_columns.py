"""What the source recorded of utterances, such as accent or votes."""

from pathlib import Path

import numpy as np
import pytest

from asrscale.data.index import read_index
from asrscale.data.source_columns import UNKNOWN, columns_of_source


def test_columns_are_in_the_order_of_the_index(own_shards: Path) -> None:
    index = read_index([str(own_shards / "train"), str(own_shards / "valid")])
    columns = columns_of_source(index, ("accent", "up_votes", "gender"))
    assert columns == {
        "accent": ["tones"] * len(index),
        "up_votes": ["1"] * len(index),
        "gender": [UNKNOWN] * len(index),  # the source has no such column
    }
    some = index.take(np.array([len(index) - 1, 0]))
    assert columns_of_source(some, ["accent"]) == {"accent": ["tones", "tones"]}


def test_a_shard_that_cannot_be_read_leaves_its_utterances_unknown(
    own_shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = read_index([str(own_shards / "train")])
    shard = Path(index.shards[1])
    shard.write_bytes(shard.read_bytes()[:700])
    accents = columns_of_source(index, ["accent"])["accent"]
    assert accents == [UNKNOWN if number == 1 else "tones" for number in index.shard_ids.tolist()]
    line = capsys.readouterr().err
    assert line.startswith(f"warning: {shard}: ") and line.count("\n") == 1
    assert line.endswith("; its utterances are of unknown accent, gender and votes\n")
