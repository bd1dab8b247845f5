"""Files that are whole or absent, whatever ends the process or the machine."""

import json
import os
import shutil
import stat
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from asrscale.common.addresses import clean_json, may_hold_address
from asrscale.common.json_values import parse_object


def sync(*paths: Path) -> None:
    """Makes the content of files, or the entries of folders, survive a power cut."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def use_default_mode(*paths: Path) -> None:
    """Gives files the permissions that a new file gets in their folder, by the umask: some libraries write 0600."""
    for path in paths:
        probe = path.with_name(f"{path.name}.mode")
        probe.touch()
        try:
            path.chmod(stat.S_IMODE(probe.stat().st_mode))
        finally:
            probe.unlink()


def open_no_link(path: str, flags: int) -> int:
    """Opens a file for `open`, but no symbolic link: whoever planted one would choose which file is overwritten."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def remove_link(path: Path) -> None:
    """Removes a symbolic link, not what it leads to; anything else stays."""
    if path.is_symlink():
        path.unlink()


def remove_folder(path: Path) -> None:
    """Removes a folder with all that is in it, or a link in its place; what cannot be removed stays."""
    with suppress(OSError):
        remove_link(path)
    shutil.rmtree(path, ignore_errors=True)


def write_text(path: str | os.PathLike[str], text: str | Iterable[str]) -> None:
    """Writes a file that nobody ever sees half written, not even after a power cut.

    Args:
        path: The file. A file of its name and `.partial` is written first.
        text: All of it, or parts to be joined.
    """
    parts = [text] if isinstance(text, str) else text
    partial = Path(f"{os.fspath(path)}.partial")
    remove_link(partial)
    with open(partial, "w", encoding="utf-8", opener=open_no_link) as file:
        file.writelines(parts)
    sync(partial)
    os.replace(partial, path)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes JSON that is never seen half written, without secrets of addresses."""
    write_text(path, json.dumps(clean_json(value), indent=2, ensure_ascii=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes a JSONL file that is never seen half written, without secrets of addresses; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json_line(row) for row in rows)
    write_text(path, lines)


def json_line(row: Mapping[str, Any]) -> str:
    """Returns a line of a JSONL file, without secrets of addresses; the row may hold scalars of numpy."""
    line = json.dumps(row, ensure_ascii=False, default=float)
    if may_hold_address(line):
        line = json.dumps(clean_json(row), ensure_ascii=False, default=float)
    return f"{line}\n"


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Reads the rows of a JSONL file; lines torn by a kill or a power cut are dropped with a warning, as are others."""
    text = path.read_text(encoding="utf-8", errors="replace")
    rows = []
    torn = 0
    for line in text.split("\n"):  # not splitlines: a text may hold other characters that it splits at
        if not line:
            continue
        try:
            rows.append(parse_object(line))
        except ValueError:
            torn += 1
    if torn:
        print(f"warning: {path}: {torn} torn line(s) dropped", file=sys.stderr)
    return rows


def drop_rows_after(path: Path, step: int) -> int:
    """Drops the rows of steps after `step` from a JSONL file, which may be missing; returns how many are left."""
    if not path.exists():
        return 0
    rows = read_jsonl(path)
    of_steps = [row for row in rows if isinstance(row.get("step"), int)]
    if len(of_steps) < len(rows):
        print(f"warning: {path}: {len(rows) - len(of_steps)} line(s) without a step dropped", file=sys.stderr)
    kept = [row for row in of_steps if row["step"] <= step]
    write_jsonl(path, kept)
    return len(kept)


def append_jsonl(path: Path, rows: Iterable[Mapping[str, Any]], unwritten: dict[Path, str]) -> None:
    """Adds rows, without secrets of addresses, to a JSONL file; makes its folder.

    Where that fails, for example because the disk is full, the job goes on: a warning is printed once, and the rows are
    tried again with the next.

    Args:
        path: The file.
        rows: May hold scalars of numpy.
        unwritten: Path to the lines that could not be written to it so far; kept by the caller, changed here.
    """
    was_failing = path in unwritten
    new_lines = [json_line(row) for row in rows]
    text = unwritten.pop(path, "") + "".join(new_lines)
    try:
        path.parent.mkdir(exist_ok=True)
        _append(path, text)
    except OSError as error:
        unwritten[path] = text
        if not was_failing:
            print(f"warning: {path}: {error.strerror}; tried again with the next", file=sys.stderr, flush=True)


def _append(path: Path, text: str) -> None:
    """Adds text to a file, or leaves it as it was and raises OSError."""
    size_bytes = path.stat().st_size if path.exists() else 0
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError:
        with suppress(OSError):
            os.truncate(path, size_bytes)  # a part of the text may have been written
        raise
