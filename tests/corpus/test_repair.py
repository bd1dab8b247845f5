"""The same command after recordings were repaired."""

import os
import shutil
from pathlib import Path

import pytest
from helpers.audio import encoded, sine
from helpers.sharding import checksums, rejected, shard, times, write_clip, write_csv
from helpers.sources import write_tar

from asrscale.common.errors import CliError
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


def build_shards(
    table: Path,
    out: Path,
    max_hours: float | None = None,
    filter: str = "votes != 4",
    shard_utterances: int = 2,
) -> None:
    options = ShardOptions(
        csv=(str(table),),
        out=str(out),
        shard_utterances=shard_utterances,
        max_rejected=1,
        workers=1,
        filter=filter,
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


def write_tars(folder: Path, repaired: dict[str, bytes], texts: dict[str, bytes] | None = None) -> Path:
    """Two tars of six utterances each: of the first, one recording is broken and one is missing until repaired."""
    sound = {f"{number}.wav": encoded(sine(300, 16_000, 0.5 + number / 20), 16_000, "WAV") for number in range(12)}
    del sound["2.wav"]
    said = {f"{number}.txt": f"text {number}".encode() for number in range(12)} | (texts or {})
    members = sound | {"1.wav": b"broken"} | said | repaired
    folder.mkdir(exist_ok=True)
    for tar in range(2):
        names = sorted(name for name in members if int(name.split(".")[0]) // 6 == tar)
        write_tar(folder / f"{tar}.tar", {name: members[name] for name in names})
    return folder


def test_repaired_tars(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    tars = write_tars(tmp_path / "tars", {})
    build_shards(tars, out, filter="text != 'text 3'")
    assert audio_rejected(out) == {"1.wav", "2.txt"}
    sound = encoded(sine(300, 16_000, 1.1), 16_000, "FLAC")
    for repaired, left in ({"1.wav": sound}, {"2.txt"}), ({"1.wav": sound, "2.flac": sound}, set()):
        write_tars(tars, repaired)
        capsys.readouterr()
        build_shards(tars, out, filter="text != 'text 3'")
        assert "shards again, whose recordings were added or changed since" in capsys.readouterr().out
        assert audio_rejected(out) == left
        fresh = tmp_path / f"fresh{len(left)}"
        build_shards(tars, fresh, filter="text != 'text 3'")
        assert without_lock(out) == without_lock(fresh)
    write_tars(tars, repaired, texts={"5.txt": b"other words"})
    with pytest.raises(CliError, match="was built with other options or input"):
        build_shards(tars, out, filter="text != 'text 3'")


def test_only_the_shards_of_a_repaired_tar_are_built_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    tars = write_tars(tmp_path / "tars", {})
    build_shards(tars, out, filter="", shard_utterances=1)
    status = (tars / "1.tar").stat()
    before = times(out.rglob("*.tar"))
    write_tars(tars, {"1.wav": encoded(sine(300, 16_000, 1.1), 16_000, "FLAC")})
    os.utime(tars / "1.tar", ns=(status.st_atime_ns, status.st_mtime_ns))
    build_shards(tars, out, filter="", shard_utterances=1)
    after = times(out.rglob("*.tar"))
    assert sum(after[path] != before[path] for path in after) == 6
    build_shards(tars, tmp_path / "fresh", filter="", shard_utterances=1)
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
