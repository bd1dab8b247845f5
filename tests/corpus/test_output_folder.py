"""The folder that a build writes to: its lock and its disk."""

import os
import signal
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from helpers.sharding import checksums, long_corpus, refusal, refusal_in_process, shard, start_long_build


def test_a_place_for_the_rows_that_cannot_be_written_to(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        tempfile, "tempdir", str(tmp_path / "absent")
    )  # where $TMPDIR and the usual places are of no use
    line = refusal_in_process(capsys, "--csv", corpus, "--out", tmp_path / "out")
    assert f"TMPDIR {tmp_path}/absent" in line and "give a folder that can be written to" in line
    assert not (tmp_path / "out").exists()


def test_two_builds_into_one_folder_at_once(tmp_path: Path) -> None:
    process, folder = start_long_build(tmp_path)
    line = refusal("--csv", tmp_path / "a.csv", "--out", tmp_path / "out", "--valid_fraction", 0)
    assert f"another build is writing to {tmp_path / 'out'}" in line
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=120)
    assert not (folder / "dataset.json").exists()


def test_a_full_disk_is_one_line_and_the_build_goes_on_when_there_is_room(tmp_path: Path) -> None:
    flags = ("--csv", long_corpus(tmp_path, 40), "--valid_fraction", 0, "--workers", 2, "--shard_utterances", 4)
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        line = refusal(*flags, "--out", disk / "out")
        assert "No space left on device: free some room" in line
        assert not (disk / "out/train/dataset.json").exists()
        for path in (disk / "out/train").glob("*.tar"):
            with tarfile.open(path) as tar:  # what has its name is whole
                assert len(tar.getmembers()) == 12
        subprocess.run(["mount", "-o", "remount,size=60m", disk], check=True)
        shard(*flags, "--out", disk / "out")
        shard(*flags, "--out", tmp_path / "undisturbed")
        assert checksums(disk / "out") == checksums(tmp_path / "undisturbed")
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_read_only_target_is_one_line(corpus: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("needs the right to mount a disk")
    try:
        line = refusal("--csv", corpus, "--out", disk / "out")
        assert "Read-only file system: give a folder that can be written to" in line
    finally:
        subprocess.run(["umount", disk], check=True)
