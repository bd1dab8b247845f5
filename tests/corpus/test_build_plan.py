"""Sources to splits, and what dataset.json records of them."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from helpers.sharding import write_csv

from asrscale.common.errors import CliError
from asrscale.corpus.build_options import ShardOptions
from asrscale.corpus.build_plan import plan_build
from asrscale.corpus.split_spool import Split


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
        "vocab_sha256": "9ebf90abe2c95256195e9f2b3717508735e561a2625c9ac54d614d9eacbdc086",
        "rows_sha256": "9bdc2ace9a35f8f5ebc9d49f90af39f87811342b55309c697dfdd09a9097cc03",
    }
    assert split.settings == expected
    assert list(split.settings) == list(expected)


def plan(spool: IO[bytes], table: Path, **options: Any) -> list[Split]:
    return plan_build(ShardOptions(csv=(str(table),), out=str(table.parent / "out"), **options), spool)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A CSV of 40 rows of eight speakers."""
    rows = [(f"{number}.wav", f"text {number}", f"s{number % 8}", "b" if number % 4 else "a") for number in range(40)]
    return write_csv(tmp_path / "a.csv", rows, "filename,text,speaker,part")


@pytest.fixture
def spool() -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        yield file


def test_every_row_is_in_one_split(table: Path, spool: IO[bytes]) -> None:
    splits = plan(spool, table, split_by="sentence", valid_fraction=0.3, test_fraction=0.2)
    assert [split.folder.name for split in splits] == ["test", "train", "valid"]
    lines = [row.line for split in splits for row in split.rows.read(split.rows.kept)]
    assert sorted(lines) == list(range(2, 42))
    assert splits[0].settings == splits[1].settings == splits[2].settings


def test_splits_that_the_source_names_may_be_any(table: Path, spool: IO[bytes]) -> None:
    assert [split.folder.name for split in plan(spool, table, split_by="part")] == ["a", "b"]
    with pytest.raises(CliError, match="no row of it is left for a: give another"):
        plan(spool, table, split_by="part", filter="part=='b'")


def test_a_split_that_is_drawn_must_get_a_row(table: Path, spool: IO[bytes]) -> None:
    assert [split.folder.name for split in plan(spool, table, valid_fraction=0.0)] == ["train"]
    with pytest.raises(CliError, match="no row of it is left for test: give another"):
        plan(spool, table, test_fraction=1e-6)


def test_rows_count_whatever_the_name_of_their_table(table: Path, spool: IO[bytes]) -> None:
    renamed = table.rename(table.with_name("b.csv"))
    [one, _] = plan(spool, renamed, split_by="part")
    [other, _] = plan(spool, renamed.rename(table), split_by="part")
    assert one.settings["rows_sha256"] == other.settings["rows_sha256"]
    table.write_text(table.read_text().replace("text 7", "text seven"))
    [changed, _] = plan(spool, table, split_by="part")
    assert one.settings["rows_sha256"] != changed.settings["rows_sha256"]


def test_recordings_with_several_texts_are_counted(tmp_path: Path, spool: IO[bytes]) -> None:
    table = write_csv(tmp_path / "a.csv", [("a.wav", "one"), ("a.wav", "two"), ("b.wav", "three")])
    assert [split.repeated_recordings for split in plan(spool, table, valid_fraction=0.0)] == [1]


def test_a_corpus_of_one_speaker_is_split_by_sentence(
    tmp_path: Path, spool: IO[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_csv(tmp_path / "a.csv", [(f"{n}.wav", f"text {n}", "me") for n in range(20)], "filename,text,speaker")
    assert [split.folder.name for split in plan(spool, table)] == ["train", "valid"]
    assert "split by sentence: by speaker, 1 speaker would leave none for valid" in capsys.readouterr().err
    with pytest.raises(CliError, match="left for valid: its speakers may be too few, so give --split_by sentence"):
        plan(spool, table, split_by="speaker")
