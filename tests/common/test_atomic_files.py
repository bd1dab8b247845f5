"""Files that are whole or absent, and lists of rows that outlive a full disk."""

import json
import resource
from pathlib import Path

import numpy as np
import pytest
from conftest import Disk

from asrscale.common.atomic_files import (
    append_jsonl,
    drop_rows_after,
    open_no_link,
    read_jsonl,
    remove_folder,
    write_json,
    write_jsonl,
)


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
    no_more = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, no_more[1]))  # what is written beyond meets EFBIG
    try:
        with pytest.raises(OSError, match="File too large"):
            write_json(path, [2] * 1_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, no_more)
    assert json.loads(path.read_bytes()) == [1]


def test_torn_lines_are_dropped_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n{"b": \n\n{"c": "\xff\xfe"}\n{"d"')
    assert read_jsonl(path) == [{"a": 1}, {"c": "\ufffd\ufffd"}]
    assert capsys.readouterr().err == f"warning: {path}: 2 torn line(s) dropped\n"


def test_rows_of_later_steps_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert drop_rows_after(path, 5) == 0
    assert not path.exists()
    write_jsonl(path, [{"step": step} for step in (1, 5, 6, 2)])
    assert drop_rows_after(path, 5) == 3
    assert read_jsonl(path) == [{"step": 1}, {"step": 5}, {"step": 2}]


def test_rows_are_added_to_a_file_in_a_folder_that_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.jsonl"
    append_jsonl(path, [{"loss": np.float32(0.5)}], {})
    append_jsonl(path, [{"text": "caf\u00e9"}, {}], {})
    assert read_jsonl(path) == [{"loss": 0.5}, {"text": "caf\u00e9"}, {}]


def test_rows_that_cannot_be_written_are_warned_of_once_and_written_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.jsonl"
    path.symlink_to("/dev/full")  # what is written there meets ENOSPC
    unwritten: dict[Path, str] = {}
    append_jsonl(path, [{"row": 1}], unwritten)
    append_jsonl(path, [{"row": 2}], unwritten)
    assert capsys.readouterr().err == f"warning: {path}: No space left on device; tried again with the next\n"
    path.unlink()
    append_jsonl(path, [{"row": 3}], unwritten)
    assert read_jsonl(path) == [{"row": 1}, {"row": 2}, {"row": 3}]
    assert unwritten == {}


def test_no_torn_row_is_left_where_the_disk_is_full(disk: Disk, capsys: pytest.CaptureFixture[str]) -> None:
    path = disk.folder / "rows.jsonl"
    unwritten: dict[Path, str] = {}
    append_jsonl(path, [{"row": 1}], unwritten)
    disk.damage("full")
    append_jsonl(path, [{"row": "x" * 1_000_000}], unwritten)
    assert path.read_text() == '{"row": 1}\n'
    assert "No space left on device" in capsys.readouterr().err
    disk.repair("full")
    append_jsonl(path, [], unwritten)
    assert [row["row"] for row in read_jsonl(path)] == [1, "x" * 1_000_000]


def test_rows_that_are_none_are_dropped_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"step": 1}\n7\n[]\nnull\n' + "[" * 100_000 + '\n{"step": "2"}\n{}\n{"step": 3}\n')
    assert drop_rows_after(path, 2) == 1
    assert read_jsonl(path) == [{"step": 1}]
    assert capsys.readouterr().err == (
        f"warning: {path}: 4 torn line(s) dropped\nwarning: {path}: 2 line(s) without a step dropped\n"
    )


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "a.json.partial").symlink_to(victim)
    write_json(tmp_path / "a.json", {"a": 1})
    assert victim.read_text() == "mine" and json.loads((tmp_path / "a.json").read_text()) == {"a": 1}
    (tmp_path / "link").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"), open(tmp_path / "link", "wb", opener=open_no_link):
        pass
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/kept").touch()
    (tmp_path / "to folder").symlink_to(tmp_path / "folder")
    remove_folder(tmp_path / "to folder")
    assert (tmp_path / "folder/kept").exists() and not (tmp_path / "to folder").is_symlink()
    remove_folder(tmp_path / "folder")
    remove_folder(tmp_path / "absent")
    assert not (tmp_path / "folder").exists()


def test_json_has_no_secrets_of_addresses(tmp_path: Path) -> None:
    value = {"at": "https://ann:s3cret@host/a?s3cret", "seconds": np.float32(0.5)}
    append_jsonl(tmp_path / "a.jsonl", [value], {})
    write_jsonl(tmp_path / "b.jsonl", [{"at": value["at"]}])
    write_json(tmp_path / "c.json", [value["at"]])
    for name in ("a.jsonl", "b.jsonl", "c.json"):
        written = (tmp_path / name).read_text()
        assert "s3cret" not in written and "https://host/a" in written
