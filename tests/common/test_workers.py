"""Worker processes that die, and parents that do."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.sharding import (
    ROOT,
    checksums,
    long_corpus,
    rejected,
    shard,
    sizes,
    start_build,
    start_long_build,
    workers_of,
    write_clip,
    write_csv,
)

from asrscale.common.errors import EXIT_INTERRUPTED
from asrscale.data.index import read_index


def test_ctrl_c_ends_every_process_in_one_line(tmp_path: Path) -> None:
    process, folder = start_long_build(tmp_path)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == EXIT_INTERRUPTED
    assert [line for line in stderr.splitlines() if "sharding" not in line] == [
        f"interrupted: run the same command again to finish {tmp_path / 'out'}"
    ]
    assert not (folder / "dataset.json").exists()


def test_no_worker_outlives_a_killed_parent(tmp_path: Path) -> None:
    process, folder = start_long_build(tmp_path)
    process.kill()
    process.communicate(timeout=120)  # ends when the last worker has closed its end of the pipe
    before = sizes(folder)
    time.sleep(1)
    assert sizes(folder) == before


def test_a_worker_that_somebody_kills_changes_nothing(tmp_path: Path) -> None:
    flags = ("--csv", long_corpus(tmp_path, 60), "--valid_fraction", 0, "--workers", 2, "--shard_utterances", 10)
    shard(*flags, "--out", tmp_path / "undisturbed")
    folder = tmp_path / "out/train"
    process = start_build(*flags, "--out", tmp_path / "out", until=lambda: bool(list(folder.glob("*.tmp"))))
    os.kill(workers_of(process)[0], signal.SIGKILL)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert checksums(tmp_path / "out") == checksums(tmp_path / "undisturbed")


def deadly_corpus(tmp_path: Path) -> tuple[str, ...]:
    """Rows of which one has a name of its own."""
    write_clip(tmp_path / "a.wav")
    rows = [("a.wav", f"sentence {number}") for number in range(30)]
    write_clip(tmp_path / "deadly.wav")
    rows.insert(7, ("deadly.wav", "goodbye"))
    return ("--csv", str(write_csv(tmp_path / "a.csv", rows)), "--valid_fraction", "0", "--shard_utterances", "10")


# A stand-in for a decoder that crashes: the process dies over one file, each time.
DEADLY_DECODER = """
import os, sys
import asrscale.shard
from asrscale.corpus import shard_file
decode = shard_file.decode
def deadly(source, *limits):
    if str(source).endswith("deadly.wav"):
        os.abort()
    return decode(source, *limits)
shard_file.decode = deadly
if __name__ == "__main__":
    asrscale.shard.main(sys.argv[1:])
"""


@pytest.mark.parametrize("on_error", ["quarantine", "stop"])
def test_a_row_over_which_workers_die(tmp_path: Path, on_error: str) -> None:
    script = tmp_path / "deadly.py"
    script.write_text(DEADLY_DECODER)
    flags = (*deadly_corpus(tmp_path), "--out", str(tmp_path / "out"), "--on_error", on_error)
    done = subprocess.run(
        [sys.executable, str(script), *flags], cwd=ROOT, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    if on_error == "stop":
        assert done.returncode == 2
        line = done.stderr.splitlines()[-1]
        assert f"{tmp_path / 'a.csv'} line 9 (deadly.wav): the worker process died over it" in line
        assert not (tmp_path / "out/train/dataset.json").exists()
    else:
        assert done.returncode == 0, done.stderr
        assert [(row["audio"], row["reason"]) for row in rejected(tmp_path / "out")] == [("deadly.wav", "fault")]
        assert len(read_index([str(tmp_path / "out/train")])) == 30
