"""A few of the damages of tests/fuzz_shard.py; all of them under `slow`."""

from pathlib import Path

import pytest
from fuzz_shard import fuzz_recordings, fuzz_tables, fuzz_tars


@pytest.mark.parametrize("count", [140, pytest.param(5_000, marks=pytest.mark.slow)])
def test_every_damaged_recording_is_built_or_rejected(
    tmp_path: Path, count: int, capfd: pytest.CaptureFixture[str]
) -> None:
    found = fuzz_recordings(tmp_path, count, seed=count)
    assert found.total() == count and 0 < found["built"] < count
    assert capfd.readouterr().err == ""  # neither mpg123's notes nor tracebacks, of the workers


@pytest.mark.parametrize("count", [10, pytest.param(500, marks=pytest.mark.slow)])
def test_every_damaged_table_is_built_or_refused_in_one_line(tmp_path: Path, count: int) -> None:
    found = fuzz_tables(tmp_path, count, seed=count)
    assert found.total() == count and 0 < found["built"] < count


@pytest.mark.parametrize("count", [170, pytest.param(5_000, marks=pytest.mark.slow)])
def test_every_key_of_any_tar_is_built_or_rejected(tmp_path: Path, count: int) -> None:
    found = fuzz_tars(tmp_path, count, seed=count)
    assert found.total() >= count and 0 < found["built"] < count
    reasons = {"no_recording", "no_transcript", "unknown_extension", "second_recording", "unusable_transcript"}
    assert reasons <= found.keys()
