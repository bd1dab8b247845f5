"""The options of a build."""

import re
from pathlib import Path
from typing import Any

import pytest
from helpers.sharding import refusal_in_process, write_clip, write_csv

from asrscale.common.cli import parse
from asrscale.common.errors import CliError
from asrscale.corpus.build_options import ShardOptions, source_files


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("", "missing flag --csv"),
        ("--csv {good}", "missing flag --out"),
        ("--csv {good} --out {out} --seed x", "--seed x: give a whole number"),
        ("--csv {good} --out {out} --valid_fraction 1", "--valid_fraction 1.0"),
        ("--csv {good} --out {out} --valid_fraction 0.0001", "no row of it is left for valid"),
        ("--csv {good} --out {out} --min_seconds 30", "--min_seconds 30.0"),
        ("--csv {good} --out {out} --min_seconds 0", "--min_seconds 0.0"),
        ("--csv {good} --out {out} --workers 0", "--workers 0"),
        ("--csv {good} --out {out} --shard_utterances 0", "--shard_utterances 0"),
        ("--csv {good},{good} --out {out}", "--csv: give one file"),
        ("--csv train={good},train={good} --out {out}", "--csv: give one file"),
        ("--csv train={good},{good} --out {out}", "--csv: give one file"),
        ("--csv train={good} --out {good}", "give a folder that can be written to"),
        ("--csv train={good} --out /proc/out", "give a folder that can be written to"),
    ],
)
def test_bad_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: str, words: str) -> None:
    for name in ("a.wav", "b.wav"):
        write_clip(tmp_path / name)
    good = write_csv(tmp_path / "good.csv", [("a.wav", "one"), ("b.wav", "two")])
    assert words in refusal_in_process(capsys, *flags.format(good=good, out=tmp_path / "out").split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"valid_fraction": -0.1}, "--valid_fraction -0.1: give 0 to below 1, with --test_fraction together"),
        ({"valid_fraction": 0.5, "test_fraction": 0.5}, "--valid_fraction 0.5: give 0 to below 1"),
        ({"test_fraction": -0.2}, "with --test_fraction together"),
        ({"parts": 0}, "--parts 0: give 1 or more"),
        ({"max_hours": 0.0}, "--max_hours 0.0: give 0.001 or more"),
        ({"part": 1}, "--part 1: give 0 to 0, one less than --parts"),
        ({"part": -1, "parts": 3}, "--part -1: give 0 to 2, one less than --parts"),
        ({"original": True, "codec": "wav"}, "--original stores the bytes as they are, --codec encodes them anew"),
        ({"max_rejected": 1.5}, "--max_rejected 1.5: give a share from 0 to 1, or 0% to 100%"),
        ({"max_rejected": -0.1}, "--max_rejected -0.1: give a share"),
    ],
)
def test_values_out_of_range_and_flags_that_exclude_each_other(values: dict[str, Any], message: str) -> None:
    with pytest.raises(CliError, match=f"^.*{re.escape(message)}"):
        ShardOptions(csv=("a.csv",), out="out", **values)


def test_one_source_needs_no_name_and_several_need_one_each() -> None:
    assert source_files(["a.csv"]) == {None: "a.csv"}
    assert source_files(["train=a.csv", "test-clean=s3://b/x=y.csv"]) == {
        "train": "a.csv",
        "test-clean": "s3://b/x=y.csv",
    }
    assert source_files(["Train=a.csv"]) == {None: "Train=a.csv"}  # no name of a split: part of the path


def test_paths_with_commas_and_equals_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a=b.csv", "c, d.csv", "train=x.csv", "x.csv"):
        (tmp_path / name).touch()
    words = ["--out", "o", "--csv", "train=c, d.csv,valid=a=b.csv", "--audio_root", f"{tmp_path},/a,b"]
    options = ShardOptions(**parse(ShardOptions, words))
    assert source_files(options.csv) == {"train": "c, d.csv", "valid": "a=b.csv"}
    assert options.audio_root == (str(tmp_path), "/a", "b")
    assert source_files(["a=b.csv"]) == {None: "a=b.csv"}
    assert source_files(["train=x.csv"]) == {"train": "x.csv"}  # both are there: read as a split
