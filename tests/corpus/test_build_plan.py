"""What a build's settings and rows are recorded as in dataset.json."""

import json
import tempfile
from pathlib import Path

from helpers.sharding import write_csv

from asrscale.corpus.build_options import ShardOptions
from asrscale.corpus.build_plan import plan_build


def test_settings_are_recorded_as_by_earlier_versions(tmp_path: Path) -> None:
    """A folder that an earlier version built is found to be built: hashes depend on names and order of fields."""
    rows = [("a.wav", "one", "3", ""), ("b.wav", "two", "", "ann"), ("c.wav", "three", "1", "bob")]
    table = write_csv(tmp_path / "a.csv", rows, "filename,text,up_votes,client_id")
    (tmp_path / "vocab.json").write_text(json.dumps({"[PAD]": 0, "[UNK]": 1, "|": 2, "e": 3}))
    options = ShardOptions(
        csv=(f"train={table}",), out=str(tmp_path / "out"), vocab=str(tmp_path / "vocab.json"), filter="up_votes>=2"
    )
    with tempfile.TemporaryFile() as spool:
        [split] = plan_build(options, spool)
    expected = {
        "min_seconds": 0.1,
        "max_seconds": 20.0,
        "max_hours": None,
        "shard_utterances": 1000,
        "seed": 42,
        "filter": "up_votes>=2",
        "valid_fraction": 0.3,
        "test_fraction": 0.0,
        "audio_root_from_csv": ".",
        "split_by": "=train",
        "codec": "flac",
        "vocab_sha256": "8740c0662967c697729599cf987af6c6867b9e8f5d0eda264c82a5d8071dfae1",
        "rows_sha256": "9bdc2ace9a35f8f5ebc9d49f90af39f87811342b55309c697dfdd09a9097cc03",
    }
    assert split.settings == expected
    assert list(split.settings) == list(expected)
