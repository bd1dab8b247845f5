"""The record beside a finished shard."""

import json
from pathlib import Path
from typing import Any

import pytest

from asrscale.corpus.rejects import Reject
from asrscale.corpus.shard_record import ShardEntry, ShardRecord, Utterance, read_record, record_path, write_record

# As version 0.1 wrote it: an interrupted build of that version goes on.
OF_AN_EARLIER_VERSION = (
    '{"utterances": [{"key": "train-00000002", "shard": "train-000000.tar", "text": "one", "speaker": null, '
    '"offset": 512, "size": 4, "crc32": 7, "num_samples": 16000}], "rejects": [{"split": "train", "source": "a.csv", '
    '"line": 3, "audio": "b.wav", "text": "Two \\u2028", "reason": "silent", "detail": "peak"}], "made_of": "ab", '
    '"shard": {"file": "train-000000.tar", "bytes": 5, "sha256": "cd", "utterances": 1, "samples": 16000, '
    '"longest_samples": 16000}, "refused": [{"split": "train", "source": "a.csv", "line": 4, "audio": "c.wav", '
    '"text": "three", "reason": "past max_hours", "detail": "not in the sample"}]}'
)
RECORD = ShardRecord(
    utterances=(
        Utterance(
            key="train-00000002",
            shard="train-000000.tar",
            text="one",
            speaker=None,
            offset=512,
            size=4,
            crc32=7,
            num_samples=16_000,
        ),
    ),
    rejects=(
        Reject(split="train", source="a.csv", line=3, audio="b.wav", text="Two \u2028", reason="silent", detail="peak"),
    ),
    made_of="ab",
    shard=ShardEntry(
        file="train-000000.tar", bytes=5, sha256="cd", utterances=1, samples=16_000, longest_samples=16_000
    ),
    refused=(
        Reject(
            split="train",
            source="a.csv",
            line=4,
            audio="c.wav",
            text="three",
            reason="past max_hours",
            detail="not in the sample",
        ),
    ),
)


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    """A shard of the recorded size."""
    path = tmp_path / "train-000000.tar"
    path.write_bytes(b"12345")
    return path


def test_a_record_is_written_as_by_earlier_versions(tar: Path) -> None:
    write_record(tar, RECORD)
    assert (tar.parent / "train-000000.tar.part").read_text() == OF_AN_EARLIER_VERSION


def test_a_record_of_an_earlier_version_is_read(tar: Path) -> None:
    record_path(tar).write_text(OF_AN_EARLIER_VERSION)
    assert read_record(str(tar)) == read_record(tar) == RECORD
    assert [reject.line for reject in RECORD.left_out] == [3, 4]


def test_there_is_no_record_of_a_shard_that_has_another_size_or_is_missing(tar: Path) -> None:
    assert read_record(tar) is None
    write_record(tar, RECORD)
    tar.write_bytes(b"1234")
    assert read_record(tar) is None
    tar.unlink()
    assert read_record(tar) is None


def damaged_values() -> list[Any]:
    """JSON that is no record, though it may look like one."""
    whole = json.loads(OF_AN_EARLIER_VERSION)
    without_hash = {name: value for name, value in whole.items() if name != "made_of"}
    unknown_column = {**whole, "utterances": [{**whole["utterances"][0], "pitch": 3}]}
    return [None, [], 5, {}, without_hash, unknown_column, {**whole, "shard": None}]


@pytest.mark.parametrize("content", ["", '{"made_of": "', "\udcff", *map(json.dumps, damaged_values())])
def test_a_damaged_record_is_no_record(tar: Path, content: str) -> None:
    record_path(tar).write_bytes(content.encode(errors="surrogateescape"))
    assert read_record(tar) is None


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", "7", '{"shard": []}'])
def test_what_is_no_record_is_none(content: str, tar: Path) -> None:
    record_path(tar).write_text(content)
    assert read_record(tar) is None
