"""What is checked of each split before anything is decoded."""

from pathlib import Path

import pytest
from helpers.sharding import (
    refusal,
    refusal_in_process,
    shard,
    times,
    write_clip,
    write_csv,
)
from helpers.sources import SHARED, needs_shared_data


def test_a_second_build_does_nothing_and_other_options_are_refused(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shard("--csv", corpus, "--out", out)
    before = times(out.rglob("*"))
    assert "already built" in shard("--csv", corpus, "--out", out).stdout
    for changed in (("--seed", 7), ("--max_seconds", 10)):
        line = refusal_in_process(capsys, "--csv", corpus, "--out", out, *changed)
        assert "--out" in line
        assert changed[0].removeprefix("--") in line
    with corpus.open("a") as file:
        file.write("clips/0.wav,one more,,\n")
    assert "rows_sha256" in refusal_in_process(capsys, "--csv", corpus, "--out", out)
    assert times(out.rglob("*")) == before


def test_recordings_that_exist_outside_the_root_are_allowed_by_the_flag_that_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("disk/one/a.wav", "disk/two/b.wav"):
        (tmp_path / name).parent.mkdir(parents=True)
        write_clip(tmp_path / name)
    (tmp_path / "table").mkdir()
    names = [tmp_path / "disk/one/a.wav", tmp_path / "disk/two/b.wav"]
    table = write_csv(tmp_path / "table/a.csv", [(str(name), "one") for name in names])
    (tmp_path / "table/clips").symlink_to(tmp_path / "disk")
    linked = write_csv(tmp_path / "table/b.csv", [("clips/one/a.wav", "one")])
    for csv, folder in ((table, "disk"), (linked, "disk/one")):
        flags = ("--csv", csv, "--valid_fraction", 0, "--out", tmp_path / f"out-{csv.name}")
        line = refusal_in_process(capsys, *flags)
        assert f"line 2: {names[0]} is outside of {tmp_path}/table" in line
        cure = f"{tmp_path}/table,{tmp_path}/{folder}"
        assert line.endswith(f": --audio_root {cure}")
        assert not (tmp_path / f"out-{csv.name}").exists()
        assert "rejected: 0 of" in " ".join(shard(*flags, "--audio_root", cure).stdout.split())


@needs_shared_data
def test_real_rows_without_their_recordings(tmp_path: Path) -> None:
    csv = SHARED / "common_voice_v1/cv-valid-dev.csv"
    line = refusal("--csv", csv, "--out", tmp_path / "out")
    assert f"{csv} line 2: no file {csv.parent}/cv-valid-dev/sample-000000.mp3" in line
    assert not (tmp_path / "out").exists()


def test_recordings_with_several_texts_are_a_warning(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.wav")
    write_clip(tmp_path / "b.wav")
    rows = [("a.wav", "one"), ("a.wav", "two"), ("b.wav", "three"), ("b.wav", "three")]
    table = write_csv(tmp_path / "a.csv", rows)
    stderr = shard("--csv", table, "--out", tmp_path / "out", "--valid_fraction", 0).stderr
    assert f"warning: {table}: 1 recording has several texts and no offsets: each text gets all of it\n" in stderr
