"""Locks that only their owner can take."""

import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from asrscale.common.lock_files import open_lock, take_lock


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("no_umask")
def test_a_lock_is_for_its_owner_alone_also_where_an_older_version_left_it_open(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("process 7")
    for name in ("new", "old"):
        with open_lock(tmp_path / name) as lock:
            take_lock(lock)
            assert mode(tmp_path / name) == 0o600
    assert (tmp_path / "old").read_text() == "process 7"


def test_what_leads_elsewhere_is_no_lock(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("thesis")
    victim.chmod(0o644)
    (tmp_path / "link").symlink_to(victim)
    (tmp_path / "twin").hardlink_to(victim)
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "twin", "pipe"):
        with pytest.raises(OSError):
            open_lock(tmp_path / name)
    assert victim.read_text() == "thesis" and mode(victim) == 0o644


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_lock_of_another_user_that_any_can_take_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock").touch(0o644)
    os.chown(tmp_path / "lock", 12_345, 12_345)
    with pytest.raises(PermissionError, match="another user's lock, which any user can take"):
        open_lock(tmp_path / "lock")


def test_a_lock_that_is_held_is_waited_for_as_long_as_is_said(tmp_path: Path) -> None:
    with open_lock(tmp_path / "lock") as first, open_lock(tmp_path / "lock") as second:
        fcntl.flock(first, fcntl.LOCK_SH)
        for patience_seconds in (0.0, 0.2):
            with pytest.raises(BlockingIOError):
                take_lock(second, patience_seconds=patience_seconds)
        fcntl.flock(first, fcntl.LOCK_UN)
        take_lock(second)
