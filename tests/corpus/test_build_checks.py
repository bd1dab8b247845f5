"""What is checked of each split before anything is decoded."""

from pathlib import Path

import pytest
from helpers.sharding import SHARED, needs_shared_data, refusal, refusal_in_process, shard, times


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


@needs_shared_data
def test_real_rows_without_their_recordings(tmp_path: Path) -> None:
    csv = SHARED / "common_voice_v1/cv-valid-dev.csv"
    line = refusal("--csv", csv, "--out", tmp_path / "out")
    assert f"{csv} line 2: no file {csv.parent}/cv-valid-dev/sample-000000.mp3" in line
    assert not (tmp_path / "out").exists()
