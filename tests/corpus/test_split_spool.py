"""The rows of a split in their temporary file, and their places in its shards."""

from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np
from helpers.sharding import shard

from asrscale.corpus.checks import Rules
from asrscale.corpus.split_spool import Split, SpooledRows
from asrscale.data.index import read_index
from asrscale.sources.rows import Row


def test_rejects_do_not_move_the_other_rows(corpus: Path, tmp_path: Path) -> None:
    flags = ("--valid_fraction", 0, "--shard_utterances", 6)
    shard("--csv", corpus, "--out", tmp_path / "whole", *flags)
    (tmp_path / "clips/4.wav").write_bytes(b"damaged")
    shard("--csv", corpus, "--out", tmp_path / "holed", *flags)

    before = shards_of_keys(tmp_path / "whole/train")
    after = shards_of_keys(tmp_path / "holed/train")
    del before["train-00000006"]  # of clip 4: the header is line 1, clip 0 is line 2
    assert list(after.items()) == list(before.items())


def shards_of_keys(folder: Path) -> dict[str, int]:
    """The number of the shard that each utterance is in, in their order."""
    index = read_index([str(folder)])
    return dict(zip(index.keys.to_pylist(), index.shard_ids.tolist(), strict=True))


def make_row(line: int, refused: str = "") -> Row:
    return Row(
        line=line,
        source="a.csv",
        audio=f"{line}.wav",
        text="a\u2028text\n",
        extra={"age": "40", "é": '"'},
        start_seconds=0.1,
        refused=refused,
    )


def spooled(rows: Iterable[Row], file: IO[bytes]) -> SpooledRows:
    spool = SpooledRows(file, salt="42 train")
    for row in rows:
        spool.add(row)
    return spool


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [make_row(line, refused="filtered: x" if line % 3 == 0 else "") for line in range(2, 50)]
    with (tmp_path / "spool").open("w+b") as file:
        spool = spooled(rows, file)
        assert list(spool.read(spool.kept)) == [row for row in rows if not row.refused]
        assert list(spool.read(spool.refused)) == [row for row in rows if row.refused]


def test_splits_share_a_file(tmp_path: Path) -> None:
    with (tmp_path / "spool").open("w+b") as file:
        splits = [SpooledRows(file, salt=f"42 {name}") for name in ("train", "valid")]
        for line in range(20):
            splits[line % 2].add(make_row(line))
        for number, split in enumerate(splits):
            assert [row.line for row in split.read(split.kept)] == list(range(number, 20, 2))


def test_rows_fill_the_shards_in_an_order_of_the_seed_and_their_lines(tmp_path: Path) -> None:
    rows = [make_row(line) for line in range(2, 202)]
    with (tmp_path / "spool").open("w+b") as file:
        spool = spooled(rows, file)
        lines = [row.line for row in spool.read(spool.shuffled().tolist())]
        assert sorted(lines) == list(range(2, 202))
        assert lines != sorted(lines)

        backwards = spooled(rows[::-1], file)
        assert [row.line for row in backwards.read(backwards.shuffled().tolist())] == lines
        # by earlier versions, too: else an interrupted build of theirs would begin anew
        assert lines[:8] == [178, 112, 182, 153, 54, 190, 163, 52]


def test_refused_rows_leave_the_others_in_their_order(tmp_path: Path) -> None:
    with (tmp_path / "spool").open("w+b") as file:
        spool = spooled([make_row(line) for line in range(2, 202)], file)
        before = [row.line for row in spool.read(spool.shuffled().tolist())]
        chosen = np.arange(2, 202) % 5 != 0
        spool.refuse_all_but(chosen)
        after = [row.line for row in spool.read(spool.shuffled().tolist())]
        assert after == [line for line in before if line % 5]
        assert [row.line for row in spool.read(spool.refused)] == list(range(5, 202, 5))
        spool.add(make_row(300))
        assert len(spool.kept) == len(spool.order_keys) == 161


def test_a_plan_has_a_shard_for_each_begun_number_of_rows(tmp_path: Path) -> None:
    with (tmp_path / "spool").open("w+b") as file:
        split = Split(
            folder=tmp_path / "out" / "dev",
            source="a.csv",
            audio_root=".",
            rules=Rules(0.1, 20.0),
            settings={"shard_utterances": 4},
            rows=spooled([make_row(line) for line in range(9)], file),
        )
        plan = split.plan()
    assert plan.shards == ("dev-000000.tar", "dev-000001.tar", "dev-000002.tar")
    assert (plan.name, plan.source, plan.options) == ("dev", "a.csv", {"shard_utterances": 4})
