"""Recordings that are segments themselves."""

from pathlib import Path

import pytest
from helpers.sharding import write_clip, write_csv
from helpers.sources import rows_of

HEADER = "filename,text,begin_time,end_time"


def test_recordings_that_are_cut_out_already_are_used_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As AMI's on the hub: the times are those in the meeting."""
    write_clip(tmp_path / "a.wav", seconds=1.5, rate_hz=16_000)
    write_clip(tmp_path / "b.wav", seconds=2.0, rate_hz=16_000)
    rows = [("a.wav", "one", "0.5", "2.0"), ("b.wav", "two", "300.25", "302.25")]
    path = write_csv(tmp_path / "a.csv", rows, HEADER)
    assert [row.segment for row in rows_of(path)] == [(0.0, None)] * 2
    assert f"{path}: the recordings are as long as from start to end, so they are used whole" in capsys.readouterr().err


def test_segments_of_longer_or_missing_recordings_are_segments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_clip(tmp_path / "a.wav", seconds=3.0, rate_hz=16_000)
    rows = [("a.wav", "one", "0", "2.0"), ("a.wav", "two", "2.0", "3.0"), ("b.wav", "three", "2", "3")]
    path = write_csv(tmp_path / "a.csv", rows, HEADER)
    assert [row.segment for row in rows_of(path)] == [(0.0, 2.0), (2.0, 1.0), (2.0, 1.0)]
    behind = write_csv(tmp_path / "b.csv", [("a.wav", "one", "2.5", "4.5")], HEADER)  # of no length that would fit
    assert [row.segment for row in rows_of(behind)] == [(2.5, 2.0)]
    offset = write_csv(tmp_path / "c.csv", [("a.wav", "one", "300", "3.0")], "filename,text,offset,duration")
    assert [row.segment for row in rows_of(offset)] == [(300.0, 3.0)]
    assert not capsys.readouterr().err
