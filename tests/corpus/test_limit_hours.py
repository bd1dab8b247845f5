"""The option --max_hours."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from helpers.sharding import write_clip

from asrscale.common.errors import CliError
from asrscale.corpus.checks import Rules
from asrscale.corpus.limit_hours import limit_hours
from asrscale.corpus.split_spool import Split, SpooledRows
from asrscale.sources.rows import Row


@pytest.fixture
def spool() -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        yield file


def make_split(folder: Path, name: str, lengths: list[float | None], spool: IO[bytes]) -> Split:
    """A split whose rows say how long they are, or have to be measured where they do not."""
    rows = SpooledRows(spool, salt=name)
    for line, seconds in enumerate(lengths):
        rows.add(Row(line=line, source="a.csv", audio=f"{line}.wav", text="a", extra={}, seconds=seconds))
    return Split(
        folder=folder / name, source="a.csv", audio_root=str(folder), rules=Rules(0.1, 20.0), settings={}, rows=rows
    )


def test_each_split_keeps_the_same_share(tmp_path: Path, spool: IO[bytes]) -> None:
    splits = [make_split(tmp_path, "train", [2.0] * 300, spool), make_split(tmp_path, "valid", [2.0] * 100, spool)]
    limit_hours(splits, max_hours=400 / 3600, seed=1)
    assert [len(split.rows.kept) for split in splits] == [150, 50]
    assert [len(split.rows.refused) for split in splits] == [150, 50]


def test_all_rows_stay_where_there_is_no_more(tmp_path: Path, spool: IO[bytes]) -> None:
    split = make_split(tmp_path, "train", [1.0] * 20, spool)
    limit_hours([split], max_hours=5, seed=1)
    assert (len(split.rows.kept), len(split.rows.refused)) == (20, 0)


def test_lengths_are_measured_where_the_source_does_not_give_them(tmp_path: Path, spool: IO[bytes]) -> None:
    for line in range(10):
        write_clip(tmp_path / f"{line}.wav", seconds=2)
    (tmp_path / "9.wav").unlink()  # one that is rejected later has no length here
    split = make_split(tmp_path, "train", [None] * 10, spool)
    limit_hours([split], max_hours=8 / 3600, seed=1)
    kept = [row.line for row in split.rows.read(split.rows.kept)]
    assert len(kept) == 5 and 9 in kept


def test_too_few_hours_for_a_clip_of_each_split(tmp_path: Path, spool: IO[bytes]) -> None:
    splits = [make_split(tmp_path, "train", [1.0] * 50, spool), make_split(tmp_path, "valid", [9.0], spool)]
    with pytest.raises(CliError, match=r"^--max_hours 0\.005 is not enough for a clip in valid: give more"):
        limit_hours(splits, max_hours=0.005, seed=1)
