"""Files that are whole or not there."""

import json
from pathlib import Path

import pytest

from asrscale.common.atomic_files import read_jsonl, write_json, write_jsonl


def test_what_is_written_is_read_back_and_nothing_else_is_left(tmp_path: Path) -> None:
    rows = [{"text": "caf\u00e9\u2028 \x85", "n": 1}, {}]
    path = tmp_path / "new" / "rows.jsonl"
    write_jsonl(path, rows)
    assert read_jsonl(path) == rows
    write_jsonl(path, rows[:1])
    assert read_jsonl(path) == rows[:1]
    write_json(tmp_path / "new" / "a.json", {"b": ["\u00e9"]})
    assert json.loads((tmp_path / "new" / "a.json").read_bytes()) == {"b": ["\u00e9"]}
    assert sorted(file.name for file in path.parent.iterdir()) == ["a.json", "rows.jsonl"]


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, [1])
    (tmp_path / "a.json.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        write_json(path, [2])
    assert json.loads(path.read_bytes()) == [1]


def test_torn_lines_are_dropped_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n{"b": \n\n{"c": "\xff\xfe"}\n{"d"')
    assert read_jsonl(path) == [{"a": 1}, {"c": "\ufffd\ufffd"}]
    assert capsys.readouterr().err == f"warning: {path}: 2 torn line(s) dropped\n"
