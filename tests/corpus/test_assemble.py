"""Whole folders: of one build, of the parts of an array job, after a fault of the disk."""

import os
import signal
import subprocess
import tarfile
from pathlib import Path

import pytest
from helpers.sharding import checksums, long_corpus, refusal, rejected, shard, start_long_build, write_clip, write_csv

from asrscale.data.index import read_index


def test_a_damaged_folder_is_built_again_and_the_rejects_of_the_others_stay(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with corpus.open("a") as file:
        file.writelines(f"clips/absent{number}.wav,gone\u2028{number},,\n" for number in range(9))
    shard("--csv", corpus, "--out", out, "--max_rejected", "50%")
    before = checksums(out)
    assert {reject["split"] for reject in rejected(out)} == {"train", "valid"}
    (out / "valid/valid-000000.tar").write_bytes(b"damaged")
    (out / "valid/valid-000007.tar.tmp").write_bytes(b"left over")
    done = shard("--csv", corpus, "--out", out, "--max_rejected", "50%")
    assert "building" in done.stderr and "train: already built" in done.stdout
    assert checksums(out) == before


def test_a_split_whose_rows_are_all_rejected(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.wav")
    (tmp_path / "b.mp3").write_bytes(b"this is no mp3")
    train = write_csv(tmp_path / "t.csv", [("a.wav", "one")])
    test = write_csv(tmp_path / "e.csv", [("b.mp3", "one"), ("a.wav", "...")])
    line = refusal("--csv", f"train={train},test={test}", "--out", tmp_path / "out", "--max_rejected", 1)
    assert "for test was rejected (empty transcript 1, unreadable 1)" in line
    assert str(tmp_path / "out/rejected.jsonl") in line
    assert len(rejected(tmp_path / "out")) == 2
    assert not (tmp_path / "out/test/dataset.json").exists()
    write_clip(tmp_path / "b.mp3")  # repaired: what is left of the first attempt must not hide it
    shard("--csv", f"train={train},test={test}", "--out", tmp_path / "out", "--max_rejected", 1)
    assert read_index([str(tmp_path / "out/test")]).keys.to_pylist() == ["test-00000002"]


def test_parts_are_disjoint_and_merge_to_the_bytes_of_one_build(corpus: Path, tmp_path: Path) -> None:
    with corpus.open("a") as file:
        file.write("clips/absent.wav,gone,,\n")
    flags = ("--csv", corpus, "--shard_utterances", 3, "--max_rejected", "50%")
    shard(*flags, "--out", tmp_path / "single")
    out = tmp_path / "out"
    for part in (2, 0, 3):
        shard(*flags, "--out", out, "--part", part, "--parts", 4)
    assert "no part-00001-of-00004: build every part" in refusal("merge", "--out", out)
    assert len(list(out.rglob("*.tar"))) < len(list((tmp_path / "single").rglob("*.tar")))
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.tar")}
    shard(*flags, "--out", out, "--part", 1, "--parts", 4)
    assert before.items() <= {path: path.stat().st_mtime_ns for path in out.rglob("*.tar")}.items()
    assert not list(out.rglob("dataset.json"))
    done = shard("merge", "--out", out)
    assert "utterances" in done.stdout
    for path in out.glob(".lock*"):
        path.unlink()
    (tmp_path / "single/.lock").unlink()
    assert checksums(out) == checksums(tmp_path / "single")


def test_parts_of_different_builds_do_not_merge(corpus: Path, tmp_path: Path) -> None:
    for part in (0, 1):
        shard("--csv", corpus, "--out", tmp_path / "out", "--part", part, "--parts", 2, "--seed", part)
    assert "built with other options or input than part 0" in refusal("merge", "--out", tmp_path / "out")


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
