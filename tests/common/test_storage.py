"""Shards behind real servers on loopback: HTTP with byte ranges, and S3."""

import fcntl
import hashlib
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Server, flip_bit

from asrscale.common import storage
from asrscale.common.errors import CliError, DataError
from asrscale.common.shard_cache import Cache
from asrscale.common.storage import Range, open_binary, read_ranges
from asrscale.data.index import Index, read_index
from asrscale.data.loader import Damaged, read_utterances


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "FIRST_WAIT_SECONDS", 0.01)


@pytest.fixture
def local(own_shards: Path) -> Index:
    return read_index([str(own_shards / "train")])


@pytest.fixture
def remote(http_server: Server) -> Index:
    pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'asrscale[remote]'")
    return read_index([f"{http_server.url}/train/"])


def read(index: Index, *utterances: int) -> tuple[dict[int, np.ndarray], tuple[Damaged, ...]]:
    with ThreadPoolExecutor(2) as pool:
        return read_utterances(index, np.array(utterances or range(len(index))), pool)


def assert_same(index: Index, expected: Index) -> None:
    (waveforms, damaged), (others, _) = read(index), read(expected)
    assert not damaged and waveforms.keys() == others.keys()
    assert all(np.array_equal(waveforms[number], others[number]) for number in waveforms)


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
    assert len(http_server.ranges) == tries + (failure != "whole")  # the last asks whether the file is there at all


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


def test_ranges_come_back_in_the_order_asked_for(remote: Index, local: Index) -> None:
    asked = [Range(index.shards[0], start, 7) for start in (700, 20) for index in (remote, local)]
    content = Path(local.shards[0]).read_bytes()
    assert read_ranges(asked) == [content[r.start : r.start + r.size] for r in asked]


def test_a_remote_file_gives_what_is_asked_for(remote: Index, local: Index, http_server: Server) -> None:
    content = Path(local.shards[0]).read_bytes()
    http_server.ranges.clear()
    http_server.failures = 2
    with open_binary(remote.shards[0]) as file:
        assert file.seek(-20, os.SEEK_END) == len(content) - 20 and file.read() == content[-20:]
        assert file.seek(100) == 100 and file.read(50) == content[100:150]
        file.seek(3, os.SEEK_CUR)
        assert file.read(9) == content[153:162] and not file.seek(0) and file.read() == content


def test_a_remote_folder_that_is_none_is_said(http_server: Server) -> None:
    pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'asrscale[remote]'")
    with pytest.raises(CliError, match=r"http://.*/nowhere: no dataset\.json here"):
        read_index([f"{http_server.url}/nowhere"])
    with pytest.raises(CliError, match=r"nonsense://x/dataset\.json cannot be opened"):
        read_index(["nonsense://x"])


def copies(folder: Path) -> set[str]:
    """The shards whose copies are in a cache."""
    return {path.name.split("-", 1)[1] for path in folder.iterdir() if path.suffix == ".tar"}


def test_the_cache_copies_a_shard_once_and_stays_below_its_bound(
    remote: Index, local: Index, http_server: Server, tmp_path: Path
) -> None:
    sizes = [os.path.getsize(shard) for shard in local.shards]
    cache = Cache(str(tmp_path / "cache"), sizes[0] + max(sizes[1:]))
    firsts = [int(np.flatnonzero(local.shard_ids == shard)[0]) for shard in range(3)]
    with ThreadPoolExecutor(1) as pool:

        def touch(shard: int) -> set[str]:
            waveforms, damaged = read_utterances(remote, np.array([firsts[shard]]), pool, cache=cache)
            assert not damaged and np.array_equal(
                waveforms[firsts[shard]], read(local, firsts[shard])[0][firsts[shard]]
            )
            assert sum(path.stat().st_size for path in Path(cache.folder).iterdir()) <= cache.max_bytes
            return copies(Path(cache.folder))

        http_server.ranges.clear()
        name = "train-{:06d}.tar".format
        assert touch(0) == {name(0)}
        assert touch(1) == {name(0), name(1)}
        http_server.failure, http_server.failures = "status 503", 10**6
        time.sleep(0.05)  # file times are as coarse as the kernel's ticks
        assert touch(0) == {name(0), name(1)}  # no request at all
        http_server.failures = 0
        assert touch(2) == {name(0), name(2)}
        small = Cache(cache.folder, min(sizes) - 1)
        assert len(http_server.ranges) == 3  # one a copy
        waveforms, _ = read_utterances(remote, np.array([firsts[1]]), pool, cache=small)
        assert firsts[1] in waveforms and len(http_server.ranges) == 4  # larger than the cache: read where it is


@pytest.mark.parametrize("failure", ["status 503", "cut"])
def test_a_copy_is_whole_or_not_there(failure: str, remote: Index, http_server: Server, tmp_path: Path) -> None:
    cache = Cache(str(tmp_path / "cache"), 10**9)
    http_server.failure, http_server.failures = failure, 3
    with ThreadPoolExecutor(1) as pool:
        waveforms, damaged = read_utterances(remote, np.array([0]), pool, cache=cache)
        assert 0 in waveforms and not damaged
        http_server.failures = 10**6
        with pytest.raises(DataError, match=r"train-000002\.tar \(bytes .* cannot be read"):
            read_utterances(remote, np.array([len(remote) - 1]), pool, cache=cache)
    assert copies(tmp_path / "cache") == {"train-000000.tar"}
    assert not list((tmp_path / "cache").glob("*.partial"))


def cached(index: Index, cache: Cache) -> tuple[dict[int, np.ndarray], tuple[Damaged, ...]]:
    with ThreadPoolExecutor(1) as pool:
        return read_utterances(index, np.arange(len(index)), pool, cache=cache)


def assert_read_where_they_are(
    local: Index, remote: Index, cache: Cache, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """All utterances arrive, and two epochs say once which folder is of no use, and why."""
    expected, _ = read(local)
    for _ in range(2):
        waveforms, damaged = cached(remote, cache)
        assert not damaged and all(np.array_equal(waveforms[i], expected[i]) for i in range(len(local)))
    assert re.fullmatch(
        rf"--cache_dir {cache.folder} cannot be written to \({why}\): .* read where they are\n", capsys.readouterr().err
    )


def test_a_cache_folder_that_cannot_be_made_stops_nothing(
    remote: Index, local: Index, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    cache = Cache(str(tmp_path / "file" / "cache"), 10**9)
    assert_read_where_they_are(local, remote, cache, "Not a directory", capsys)


def test_a_full_cache_disk_stops_nothing(
    remote: Index, local: Index, http_server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = Cache(str(tmp_path / "cache"), 10**9)
    shards = np.unique(remote.shard_ids)
    with ThreadPoolExecutor(1) as pool:
        read_utterances(remote, np.flatnonzero(remote.shard_ids == 0), pool, cache=cache)
    [copy] = (tmp_path / "cache").glob("*.tar")
    digest = hashlib.sha256(remote.shards[1].encode()).hexdigest()[:16]
    full = tmp_path / "cache" / f"{digest}-{os.path.basename(remote.shards[1])}.partial"
    full.symlink_to("/dev/full")  # what is written there meets ENOSPC
    assert_read_where_they_are(local, remote, cache, "No space left on device", capsys)
    assert not full.is_symlink() and list((tmp_path / "cache").glob("*.tar")) == [copy] and len(shards) == 3
    http_server.ranges.clear()
    cached(remote, cache)
    assert len(http_server.ranges) == 2  # the copy that was made before is used


def test_a_copy_of_another_size_is_made_again(remote: Index, local: Index, http_server: Server, tmp_path: Path) -> None:
    cache = Cache(str(tmp_path / "cache"), 10**9)
    cached(remote, cache)
    copy = min((tmp_path / "cache").glob("*-train-000001.tar"))
    os.truncate(copy, 1_000)
    http_server.ranges.clear()
    waveforms, damaged = cached(remote, Cache(cache.folder, cache.max_bytes))
    assert len(waveforms) == len(local) and not damaged and len(http_server.ranges) == 1
    assert copy.read_bytes() == Path(local.shards[1]).read_bytes()


def test_a_shard_that_is_shorter_than_promised_costs_what_it_lacks_and_is_not_copied(
    remote: Index, local: Index, http_server: Server, tmp_path: Path
) -> None:
    cache = Cache(str(tmp_path / "cache"), 10**9)
    os.truncate(local.shards[0], int(local.offsets[3]) + 10)
    lost = np.flatnonzero((local.shard_ids == 0) & (local.offsets >= local.offsets[3])).tolist()
    _, damaged = cached(remote, cache)
    assert {one.utterance for one in damaged} == set(lost)
    assert copies(tmp_path / "cache") == {"train-000001.tar", "train-000002.tar"}
    http_server.ranges.clear()
    cached(remote, cache)
    assert not any("bytes=0-" in asked for asked in http_server.ranges)  # no second try to copy it


def test_what_a_killed_copy_left_goes_and_what_others_put_there_stays(
    remote: Index, local: Index, tmp_path: Path
) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    stale, busy = (folder / f"{letter * 16}-train-000009.tar.partial" for letter in "ab")
    foreign = folder / "thesis.tex"
    for path in (stale, busy, foreign):
        path.write_bytes(bytes(100_000))
    sizes = [os.path.getsize(shard) for shard in local.shards]
    with busy.with_suffix(".lock").open("w") as lock:  # of a rank that is copying
        fcntl.flock(lock, fcntl.LOCK_EX)
        cached(remote, Cache(str(folder), max(sizes) + 100_000))
    assert not stale.exists() and busy.exists() and foreign.exists()
    assert copies(folder) == {"train-000002.tar"}


def test_ranks_share_a_cache(local: Index, tmp_path: Path) -> None:
    """Three processes read all shards through a cache that holds one."""
    bound = max(os.path.getsize(shard) for shard in local.shards)
    script = (
        "import sys, numpy as np\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from asrscale.data.index import read_index\n"
        "from asrscale.data.loader import read_utterances\n"
        "from asrscale.common.shard_cache import Cache\n"
        "index = read_index([sys.argv[1]])\n"
        "with ThreadPoolExecutor(1) as pool:\n"
        "    for seed in range(20):\n"
        "        order = np.random.default_rng(seed).permutation(len(index))[:9]\n"
        "        good, bad = read_utterances(index, order, pool, cache=Cache(sys.argv[2], int(sys.argv[3])))\n"
        "        assert len(good) == 9 and not bad, bad\n"
    )
    words = [sys.executable, "-c", script, os.path.dirname(local.shards[0]), str(tmp_path / "cache"), str(bound)]
    ranks = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    outcomes = [(rank.communicate(timeout=120)[1], rank.returncode) for rank in ranks]
    assert outcomes == [("", 0)] * 3


def test_a_bucket_is_read_like_a_local_folder(s3_folder: str, local: Index) -> None:
    remote = read_index([s3_folder])
    assert remote.shards[0] == f"{s3_folder}/train-000000.tar"
    assert_same(remote, local)
    moved = replace(remote, shards=("s3://bucket/data/none.tar",) * len(remote.shards))
    with pytest.raises(DataError, match=r"s3://bucket/data/none\.tar \(bytes .* cannot be read"):
        read(moved, 3)
