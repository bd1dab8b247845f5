"""Files behind real servers on loopback: HTTP with byte ranges, and S3."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Server, flip_bit
from helpers.reading import assert_same, read

from asrscale.common import storage
from asrscale.common.errors import CliError, DataError
from asrscale.common.storage import Range, open_binary, read_local, read_ranges
from asrscale.data.index import Index, read_index
from asrscale.data.loader import Damaged


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "FIRST_WAIT_SECONDS", 0.01)


def test_a_remote_folder_is_read_like_a_local_one(remote: Index, local: Index, http_server: Server) -> None:
    assert remote.shards[0] == f"{http_server.url}/train/train-000000.tar" and remote.keys.equals(local.keys)
    http_server.ranges.clear()
    assert_same(remote, local)
    assert len(http_server.ranges) == len(set(remote.shards))  # a whole epoch's ranges lie next to each other


@pytest.mark.parametrize("failure", ["status 503", "status 429", "cut"])
def test_a_server_that_stumbles_is_asked_again(failure: str, remote: Index, local: Index, http_server: Server) -> None:
    http_server.failure, http_server.failures = failure, 3
    assert_same(remote, local)
    assert http_server.failures == 0
    http_server.failures = 3
    assert len(read_index([f"{http_server.url}/train"])) == len(local)


@pytest.mark.parametrize(
    ("failure", "message"),
    [("status 503", "503"), ("cut", "cannot be read"), ("status 403", "403"), ("whole", "sends whole files only")],
)
def test_a_server_that_stays_down_ends_the_run(failure: str, message: str, remote: Index, http_server: Server) -> None:
    http_server.failure, http_server.failures = failure, 10**6
    http_server.ranges.clear()
    with pytest.raises(DataError, match=rf"{http_server.url}/train/train-000000\.tar \(bytes [\d,]+ to .*{message}"):
        read(remote, 3)
    tries = 1 if failure in ("status 403", "whole") else storage.TRIES
    assert len(http_server.ranges) == tries + (failure != "whole")  # the last reads its beginning


def test_pauses_between_tries_double(remote: Index, http_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(storage.time, "sleep", pauses.append)
    http_server.failures = 10**6
    with pytest.raises(DataError):
        read(remote, 3)
    assert pauses == pytest.approx([0.01, 0.02, 0.04, 0.08])


def test_a_shard_that_is_gone_ends_the_run(remote: Index, local: Index) -> None:
    os.remove(local.shards[0])
    with pytest.raises(DataError, match=r"train-000000\.tar \(bytes [\d,]+ to [\d,]+\) cannot be read"):
        read(remote)


def test_damage_behind_a_server_costs_its_utterances(remote: Index, local: Index) -> None:
    flip_bit(local, 40)
    os.truncate(local.shards[0], int(local.offsets[3]) + 10)
    lost = np.flatnonzero((local.shard_ids == 0) & (local.offsets >= local.offsets[3])).tolist()
    waveforms, damaged = read(remote)
    assert {one.utterance for one in damaged} == {40, *lost} and len(waveforms) == len(local) - len(damaged)
    waveforms, damaged = read(remote, lost[-1])
    assert not waveforms and damaged[0].reason.startswith("unreadable: 416")


@pytest.mark.parametrize(
    ("start", "size", "expected"),
    [(1, 2, b"bc"), (1, 2**40, b"bcd"), (1, 2**62, b"bcd"), (2**62, 2**62, b""), (2**70, 9, b""), (1, -1, b"")],
)
def test_a_local_range_takes_no_more_memory_than_its_file(
    start: int, size: int, expected: bytes, tmp_path: Path
) -> None:
    (tmp_path / "a.tar").write_bytes(b"abcd")
    assert read_local(Range(str(tmp_path / "a.tar"), start, size)) == expected


def test_a_local_range_that_cannot_be_read_costs_its_utterance_only(
    local: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad sector, in the only place where a test can put one."""
    pread = os.pread

    def with_bad_sector(file: int, size: int, start: int) -> bytes:
        if start <= local.offsets[3] + 5 < start + size:
            raise OSError(5, "Input/output error")
        return pread(file, size, start)

    monkeypatch.setattr(storage.os, "pread", with_bad_sector)
    waveforms, damaged = read(local, *np.flatnonzero(local.shard_ids == 0).tolist())
    assert damaged == (Damaged(3, "unreadable: [Errno 5] Input/output error"),)
    assert len(waveforms) == (local.shard_ids == 0).sum() - 1


def test_ranges_are_returned_in_the_order_requested(remote: Index, local: Index) -> None:
    asked = [Range(index.shards[0], start, 7) for start in (700, 20) for index in (remote, local)]
    content = Path(local.shards[0]).read_bytes()
    assert read_ranges(asked) == [content[r.start : r.start + r.size] for r in asked]


def test_a_remote_file_is_read_like_a_local_one(remote: Index, local: Index, http_server: Server) -> None:
    content = Path(local.shards[0]).read_bytes()
    http_server.ranges.clear()
    http_server.failures = 2
    with open_binary(remote.shards[0]) as file:
        assert file.seek(-20, os.SEEK_END) == len(content) - 20 and file.read() == content[-20:]
        assert file.seek(100) == 100 and file.read(50) == content[100:150]
        file.seek(3, os.SEEK_CUR)
        assert file.read(9) == content[153:162] and not file.seek(0) and file.read() == content


def test_a_remote_folder_that_is_none_is_reported(http_server: Server) -> None:
    pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'asrscale[remote]'")
    with pytest.raises(CliError, match=r"http://.*/nowhere: no dataset\.json here"):
        read_index([f"{http_server.url}/nowhere"])
    with pytest.raises(CliError, match=r"nonsense://x/dataset\.json cannot be opened"):
        read_index(["nonsense://x"])


def test_a_bucket_is_read_like_a_local_folder(s3_folder: str, local: Index) -> None:
    remote = read_index([s3_folder])
    assert remote.shards[0] == f"{s3_folder}/train-000000.tar"
    assert_same(remote, local)
    moved = replace(remote, shards=("s3://bucket/data/none.tar",) * len(remote.shards))
    with pytest.raises(DataError, match=r"s3://bucket/data/none\.tar \(bytes .* cannot be read"):
        read(moved, 3)
