"""Packing one shard, and what happens when a worker meets a fault."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asrscale.pack import Task, build_shards
from asrscale.sources import Row


def make_task(folder: Path, max_seconds: float) -> Task:
    soundfile.write(folder / "a.wav", np.sin(np.arange(16_000) / 10), 16_000)
    rows = tuple(Row(line, "a.csv", "a.wav", f"text {line}", {"speaker": "ann"}) for line in (5, 3, 9))
    return Task(str(folder / "train-000000.tar"), "train", rows, str(folder), 0.1, max_seconds)


def test_members_stand_in_the_order_of_the_rows_and_say_nothing_of_who_wrote_them(tmp_path: Path) -> None:
    (part,) = build_shards([make_task(tmp_path, max_seconds=20)], workers=1)
    with tarfile.open(tmp_path / "train-000000.tar") as tar:
        members = tar.getmembers()
    names = [f"train-{line:08d}.{kind}" for line in (5, 3, 9) for kind in ("flac", "json", "txt")]
    assert [member.name for member in members] == names
    about = {(member.mtime, member.uid, member.gid, member.uname, member.gname, member.mode) for member in members}
    assert about == {(0, 0, 0, "", "", 0o644)}
    payloads = [(member.offset_data, member.size) for member in members if member.name.endswith(".flac")]
    assert [(utterance["offset"], utterance["size"]) for utterance in part["utterances"]] == payloads
    assert [utterance["speaker"] for utterance in part["utterances"]] == ["ann"] * 3
    assert part["rejects"] == []
    assert part["shard"]["bytes"] == (tmp_path / "train-000000.tar").stat().st_size


def test_a_fault_names_the_row_and_leaves_no_shard(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"a\.csv line 5 \(a\.wav\): ValueError"):
        build_shards([make_task(tmp_path, max_seconds=float("nan"))], workers=1)  # no number of samples
    assert not (tmp_path / "train-000000.tar").exists()
