"""Shards built by several processes."""

import os
import subprocess
import sys
from pathlib import Path

from helpers.sharding import ROOT, checksums, refusal, rejected, shard, write_clip, write_csv

from asrscale.data.index import read_index


def test_output_is_the_same_for_one_worker_and_many(corpus: Path, tmp_path: Path) -> None:
    with corpus.open("a") as file:
        file.write("clips/absent.wav,gone,,\n")
    for workers in (1, 3):
        flags = ("--shard_utterances", 4, "--workers", workers)
        shard("--csv", corpus, "--out", tmp_path / f"out{workers}", *flags)
    assert checksums(tmp_path / "out1") == checksums(tmp_path / "out3")
    assert "train/train-000003.tar" in checksums(tmp_path / "out1")


def test_too_many_rejects_end_the_build_with_their_reasons(corpus: Path, tmp_path: Path) -> None:
    for number in range(0, 20, 4):
        (tmp_path / f"clips/{number}.wav").write_bytes(b"damaged")
    flags = ("--csv", corpus, "--out", tmp_path / "out", "--valid_fraction", 0)
    line = refusal(*flags, "--max_rejected", "20%")
    assert "more than --max_rejected 0.2 of 23 rows were rejected (unreadable 5)" in line
    assert {row["reason"] for row in rejected(tmp_path / "out")} == {"unreadable"}
    assert not (tmp_path / "out/train/dataset.json").exists()
    shard(*flags, "--max_rejected", "25%")
    assert len(read_index([str(tmp_path / "out/train")])) == 18


# A stand-in for a decoder that crashes: the process dies over one file, each time.
DEADLY_DECODER = """
import os, sys
import asrscale.shard
from asrscale.corpus import payload

decode = payload.decode

def deadly(source, *limits, **options):
    if str(source).endswith("deadly.wav"):
        os.abort()
    return decode(source, *limits, **options)

payload.decode = deadly
if __name__ == "__main__":
    asrscale.shard.main(sys.argv[1:])
"""


def build_with_a_deadly_row(tmp_path: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
    """Builds 31 rows, of which that on line 9 kills each worker that decodes it."""
    script = tmp_path / "deadly.py"
    script.write_text(DEADLY_DECODER)
    write_clip(tmp_path / "a.wav")
    write_clip(tmp_path / "deadly.wav")
    rows = [("a.wav", f"sentence {number}") for number in range(30)]
    rows.insert(7, ("deadly.wav", "goodbye"))
    table = write_csv(tmp_path / "a.csv", rows)
    own_flags = ["--csv", str(table), "--out", str(tmp_path / "out"), "--valid_fraction", "0", *flags]
    return subprocess.run(
        [sys.executable, str(script), *own_flags],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_row_over_which_workers_die_is_rejected(tmp_path: Path) -> None:
    done = build_with_a_deadly_row(tmp_path, "--shard_utterances", "10")
    assert done.returncode == 0, done.stderr
    assert [(row["audio"], row["reason"]) for row in rejected(tmp_path / "out")] == [("deadly.wav", "fault")]
    assert len(read_index([str(tmp_path / "out/train")])) == 30


def test_a_row_over_which_workers_die_can_end_the_build(tmp_path: Path) -> None:
    done = build_with_a_deadly_row(tmp_path, "--shard_utterances", "10", "--on_error", "stop")
    assert done.returncode == 2
    line = done.stderr.splitlines()[-1]
    assert f"{tmp_path / 'a.csv'} line 9 (deadly.wav): the worker process died over it" in line
    assert not (tmp_path / "out/train/dataset.json").exists()
