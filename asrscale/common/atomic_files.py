"""Files that are whole or not there, whatever ends the process or the machine."""

import json
import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any


def sync(*paths: Path) -> None:
    """Makes the content of files, or the entries of folders, survive a power cut."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: str | os.PathLike[str], text: str | Iterable[str]) -> None:
    """Writes a file that is never seen half written, nor after a power cut."""
    partial = Path(f"{os.fspath(path)}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.writelines([text] if isinstance(text, str) else text)
    sync(partial)
    os.replace(partial, path)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes JSON that is never seen half written."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes a JSONL file that is never seen half written; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, (json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file; lines torn by a kill or a power cut are dropped with a warning."""
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")  # a text may hold what splitlines splits at
    rows, torn = [], 0
    for line in filter(None, lines):
        try:
            rows.append(json.loads(line))
        except ValueError:
            torn += 1
    if torn:
        print(f"warning: {path}: {torn} torn line(s) dropped", file=sys.stderr)
    return rows


def drop_rows_after(path: Path, step: int) -> int:
    """Drops the rows of later steps from a JSONL file, which may be missing; returns how many are left."""
    if not path.exists():
        return 0
    rows = [row for row in read_jsonl(path) if row["step"] <= step]
    write_jsonl(path, rows)
    return len(rows)


def append_jsonl(path: Path, rows: Iterable[Mapping[str, Any]], unwritten: dict[Path, str]) -> None:
    """Adds rows to a JSONL file; where that fails, says so once, and keeps them in `unwritten` for the next call."""
    told, size = path in unwritten, -1
    lines = "".join(json.dumps(row, ensure_ascii=False, default=float) + "\n" for row in rows)  # scalars of numpy too
    lines = unwritten.pop(path, "") + lines
    try:
        path.parent.mkdir(exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            size = file.tell()
            file.write(lines)
    except OSError as error:
        unwritten[path] = lines
        with suppress(OSError):
            os.truncate(path, size)  # a part of a line may be there
        if not told:
            print(f"warning: {path}: {error.strerror}; tried again with the next", file=sys.stderr, flush=True)
