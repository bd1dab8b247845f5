"""The same command after recordings were repaired."""

import shutil
from pathlib import Path

import pytest
from helpers.sharding import checksums, rejected, shard, times, write_clip, write_csv

from asrscale.corpus.build import build
from asrscale.corpus.build_options import ShardOptions
from asrscale.corpus.verify import verify

NUM_CLIPS = 30


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A CSV of 30 clips, of which two are missing and one is broken."""
    for number in range(NUM_CLIPS):
        write_clip(tmp_path / f"clips/{number}.wav", rate_hz=16_000)
    (tmp_path / "clips/3.wav").unlink()
    (tmp_path / "clips/7.wav").unlink()
    (tmp_path / "clips/11.wav").write_bytes(b"broken")
    rows = [(f"clips/{number}.wav", f"text {number}", str(number % 5)) for number in range(NUM_CLIPS)]
    return write_csv(tmp_path / "a.csv", rows, "filename,text,votes")


def build_shards(table: Path, out: Path, max_hours: float | None = None) -> None:
    options = ShardOptions(
        csv=(str(table),),
        out=str(out),
        shard_utterances=2,
        max_rejected=1,
        workers=1,
        filter="votes != 4",
        max_hours=max_hours,
    )
    assert build(options) is None


def without_lock(out: Path) -> dict[str, str]:
    return {name: content for name, content in checksums(out).items() if not name.startswith(".lock")}


def audio_rejected(out: Path) -> set[str]:
    return {row["audio"] for row in rejected(out) if row["reason"] != "filtered"}


def test_only_the_shards_of_repaired_recordings_are_built_again_to_the_bytes_of_a_fresh_build(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    build_shards(table, out)
    assert audio_rejected(out) == {f"clips/{number}.wav" for number in (3, 7, 11)}
    before = times(out.rglob("*.tar"))
    (tmp_path / "clips/8.wav").rename(tmp_path / "8.wav")  # gone since: nothing that is built is lost
    capsys.readouterr()
    build_shards(table, out)
    assert capsys.readouterr().out.count(": already built") == 2
    (tmp_path / "8.wav").rename(tmp_path / "clips/8.wav")

    write_clip(tmp_path / "clips/3.wav", rate_hz=16_000)
    write_clip(tmp_path / "clips/11.wav", rate_hz=16_000)
    write_clip(tmp_path / "clips/5.wav", rate_hz=16_000, level=0.25)  # another recording of the same length
    build_shards(table, out)
    assert "shards again, whose recordings were added or changed since" in capsys.readouterr().out
    after = times(out.rglob("*.tar"))
    assert after.keys() == before.keys()
    assert 1 <= sum(after[path] != before[path] for path in after) <= 3 < len(after)
    assert audio_rejected(out) == {"clips/7.wav"}

    build_shards(table, tmp_path / "fresh")
    assert without_lock(out) == without_lock(tmp_path / "fresh")
    verify([str(out / "train"), str(out / "valid")])


def test_all_recordings_gone_change_nothing(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build_shards(table, out)
    before = without_lock(out)
    shutil.rmtree(tmp_path / "clips")
    build_shards(table, out)
    assert without_lock(out) == before


def test_shards_of_which_the_list_of_rejects_is_lost_are_built_again(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build_shards(table, out)
    write_clip(tmp_path / "clips/3.wav", rate_hz=16_000)
    lines = (out / "rejected.jsonl").read_text().splitlines(keepends=True)
    (out / "rejected.jsonl").write_text("".join(line for line in lines if '"split": "train"' not in line))
    build_shards(table, out)
    build_shards(table, tmp_path / "fresh")
    assert without_lock(out) == without_lock(tmp_path / "fresh")


def test_parts_of_an_array_job_are_repaired_by_the_command_for_one_build(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    flags = ("--csv", table, "--shard_utterances", 2, "--max_rejected", 1, "--workers", 1, "--filter", "votes != 4")
    for part in range(2):
        shard(*flags, "--out", out, "--part", part, "--parts", 2)
    shard("merge", "--out", out)
    write_clip(tmp_path / "clips/3.wav", rate_hz=16_000)
    assert shard(*flags, "--out", out, "--part", 0, "--parts", 2).stdout.count("already built") == 2
    build_shards(table, out)
    build_shards(table, tmp_path / "fresh")
    assert without_lock(out) == without_lock(tmp_path / "fresh")


def test_a_sample_by_hours_is_that_of_a_fresh_build(table: Path, tmp_path: Path) -> None:
    """Recordings that are there now change the lengths, and so which rows are chosen."""
    out = tmp_path / "out"
    build_shards(table, out, max_hours=0.002)
    for number in (3, 7, 11):
        write_clip(tmp_path / f"clips/{number}.wav", rate_hz=16_000, seconds=0.9)
    build_shards(table, out, max_hours=0.002)
    build_shards(table, tmp_path / "fresh", max_hours=0.002)
    assert without_lock(out) == without_lock(tmp_path / "fresh")


def test_a_folder_without_a_record_of_its_recordings_stays_as_it_is(table: Path, tmp_path: Path) -> None:
    """As those that older versions built."""
    out = tmp_path / "out"
    build_shards(table, out)
    for path in out.glob(".recordings-*"):
        path.unlink()
    before = without_lock(out)
    write_clip(tmp_path / "clips/3.wav", rate_hz=16_000)
    build_shards(table, out)
    assert without_lock(out) == before
