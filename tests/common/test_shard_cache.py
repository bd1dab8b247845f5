"""Copies of shards on a node's disk: bounded, shared, whole or absent, and never needed."""

import fcntl
import os
import re
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from conftest import Disk, Server
from helpers.reading import read

from asrscale.common import shard_cache, storage
from asrscale.common.errors import DataError
from asrscale.common.shard_cache import Cache
from asrscale.data.index import Index
from asrscale.data.loader import Damaged, read_utterances


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "FIRST_WAIT_SECONDS", 0.01)


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
        rf"--cache_dir {cache.folder} cannot be used \({why}\): .* read where they are\n", capsys.readouterr().err
    )


def test_a_cache_folder_that_cannot_be_made_stops_nothing(
    remote: Index, local: Index, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    cache = Cache(str(tmp_path / "file" / "cache"), 10**9)
    assert_read_where_they_are(local, remote, cache, "Not a directory", capsys)


def test_a_full_cache_disk_stops_nothing(
    remote: Index, local: Index, http_server: Server, disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = disk.folder / "cache"
    cache = Cache(str(folder), 10**9)
    with ThreadPoolExecutor(1) as pool:
        read_utterances(remote, np.flatnonzero(remote.shard_ids == 0), pool, cache=cache)
    [copy] = folder.glob("*.tar")
    disk.damage("full")
    with suppress(OSError), (disk.folder / "rest").open("wb", buffering=0) as rest:
        while rest.write(bytes(4_096)):
            pass
    assert_read_where_they_are(local, remote, cache, "No space left on device", capsys)
    assert list(folder.glob("*.tar")) == [copy] and not list(folder.glob("*.partial"))
    http_server.ranges.clear()
    cached(remote, cache)
    assert len(http_server.ranges) == 2  # the copy that was made before is used


@pytest.mark.parametrize(("mode", "owner", "why"), [(0o777, 0, "other users may write"), (0o755, 1, "another user")])
@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_folder_that_another_user_could_write_to_is_not_used(
    mode: int, owner: int, why: str, remote: Index, local: Index, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "cache"
    cached(remote, Cache(str(folder), 10**9))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    folder.chmod(mode)
    os.chown(folder, owner, owner)
    for copy in folder.glob("*.tar"):
        copy.write_bytes(bytes(copy.stat().st_size))
    assert_read_where_they_are(local, remote, Cache(str(folder), 10**9), f".*{why}.*", capsys)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_others_planted_is_no_copy_and_no_link_is_followed(remote: Index, local: Index, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    cached(remote, Cache(str(folder), 10**9))
    first, second, third = sorted(folder.glob("*.tar"), key=lambda path: path.name.split("-", 1)[1])
    victims = [tmp_path / name for name in ("a", "b", "c")]
    for victim, copy in zip(victims, (first, second, third), strict=True):
        victim.write_bytes(bytes(copy.stat().st_size))
        copy.unlink()
    victims[0].rename(first)
    os.chown(first, 1, 1)
    second.symlink_to(victims[1])
    third.hardlink_to(victims[2])
    Path(f"{second}.partial").symlink_to(victims[1])
    Path(f"{third}.lock").unlink()
    Path(f"{third}.lock").symlink_to(victims[2])
    waveforms, damaged = cached(remote, Cache(str(folder), 10**9))
    expected, _ = read(local)
    assert not damaged and all(np.array_equal(waveforms[i], expected[i]) for i in range(len(local)))
    assert first.read_bytes() == Path(local.shards[0]).read_bytes()
    assert not any(victims[1].read_bytes()) and not any(victims[2].read_bytes())


def test_a_shard_with_another_hash_than_promised_is_not_copied(
    remote: Index, local: Index, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = Cache(str(tmp_path / "cache"), 10**9)
    with Path(local.shards[1]).open("r+b") as shard:
        shard.write(b"x")  # in the header of a member: no utterance's checksum notices it
    for _ in range(2):
        waveforms, damaged = cached(remote, cache)
        assert len(waveforms) == len(local) and not damaged
    assert copies(tmp_path / "cache") == {"train-000000.tar", "train-000002.tar"}
    assert capsys.readouterr().err.count("whose SHA-256 is not that of dataset.json") == 1


def test_a_lock_that_is_never_released_costs_the_copy_and_no_utterance(
    remote: Index, local: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shard_cache, "LOCK_SECONDS", 0.1)
    folder = tmp_path / "cache"
    folder.mkdir(0o700)
    lock_path = folder / f"{remote.shard_sha256[0][:32]}-train-000000.tar.lock"
    with lock_path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        waveforms, damaged = cached(remote, Cache(str(folder), 10**9))
    assert len(waveforms) == len(local) and not damaged
    assert f"another process holds {lock_path}" in capsys.readouterr().err
    assert copies(folder) == {"train-000001.tar", "train-000002.tar"}


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
    assert not any("bytes=0-" in requested for requested in http_server.ranges)  # no second try to copy it


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
