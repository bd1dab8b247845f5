"""The folder that a build writes to: its lock and its disk."""

import errno
import os
import signal
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.sharding import checksums, long_corpus, refusal, refusal_in_process, shard, start_long_build

from asrscale.common.errors import CliError
from asrscale.common.output_folder import disk_errors_as_cli_errors, only_writer


def test_a_place_for_the_rows_that_cannot_be_written_to(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = tmp_path / "absent"
    monkeypatch.setattr(tempfile, "tempdir", str(absent))  # as where neither $TMPDIR nor the usual places can be used
    line = refusal_in_process(capsys, "--csv", corpus, "--out", tmp_path / "out")
    assert f"TMPDIR {absent}" in line
    assert "give a folder that can be written to" in line
    assert not (tmp_path / "out").exists()


def test_two_builds_into_one_folder_at_once(tmp_path: Path) -> None:
    process, folder = start_long_build(tmp_path)
    line = refusal("--csv", tmp_path / "a.csv", "--out", tmp_path / "out", "--valid_fraction", 0)
    assert f"another build is writing to {tmp_path / 'out'}" in line
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=120)
    assert not (folder / "dataset.json").exists()


@contextmanager
def mounted_disk(folder: Path, options: str) -> Iterator[None]:
    """A file system of its own, in memory; skips the test where none may be mounted."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_one_line_and_the_build_goes_on_when_there_is_room(tmp_path: Path) -> None:
    table = long_corpus(tmp_path, rows=40)
    flags = ("--csv", table, "--valid_fraction", 0, "--workers", 2, "--shard_utterances", 4)
    disk = tmp_path / "disk"
    out = disk / "out"
    with mounted_disk(disk, "size=6m"):
        line = refusal(*flags, "--out", out)
        assert "No space left on device: free some room" in line
        assert not (out / "train/dataset.json").exists()
        for path in (out / "train").glob("*.tar"):
            with tarfile.open(path) as tar:  # only a complete tar has its final name
                assert len(tar.getmembers()) == 4 * 3

        subprocess.run(["mount", "-o", "remount,size=60m", disk], check=True)
        shard(*flags, "--out", out)
        shard(*flags, "--out", tmp_path / "undisturbed")
        assert checksums(out) == checksums(tmp_path / "undisturbed")


def test_a_read_only_target_is_one_line(corpus: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with mounted_disk(disk, "ro"):
        line = refusal("--csv", corpus, "--out", disk / "out")
        assert "Read-only file system: give a folder that can be written to" in line


def test_parts_write_at_the_same_time_and_a_part_once(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    with (
        only_writer(out, "part-0"),
        only_writer(out, "part-1"),
        pytest.raises(CliError, match=f"another build is writing to {out}"),
        only_writer(out, "part-1"),
    ):
        pass
    with only_writer(out, "part-1"):  # the lock is released
        pass


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/a/b"), "--out /a/b: No space left on device: free some"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "--out dir: Disk quota exceeded: free some room"),
        (OSError(errno.EROFS, "Read-only file system"), "--out dir: Read-only file system: give a folder that can be"),
        (OSError("odd"), "--out dir: odd: give a folder that can be written to"),
    ],
)
def test_errors_of_the_disk_name_flag_and_place(error: OSError, message: str) -> None:
    with pytest.raises(CliError, match=f"^{message}"), disk_errors_as_cli_errors("--out", "dir"):
        raise error


def test_the_lock_of_a_build_is_for_its_owner_alone(tmp_path: Path) -> None:
    with only_writer(str(tmp_path), "-1-of-2"):
        assert stat.S_IMODE((tmp_path / ".lock-1-of-2").stat().st_mode) == 0o600
