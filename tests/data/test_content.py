"""What counts as the same data."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.folders import make_folder

from asrscale.data import content
from asrscale.data.catalog import INDEX_FILE, read_catalog
from asrscale.data.content import hash_content
from asrscale.data.index import INDEX_SCHEMA, open_index_writer


def hash_of(*folders: Path | str) -> str:
    return hash_content(read_catalog([os.fspath(folder) for folder in folders]))


def change_index(folder: Path, change: Callable[[dict[str, list[object]]], None]) -> None:
    """Rewrites the index of a folder, row group by row group, with its columns changed."""
    path = folder / INDEX_FILE
    with pq.ParquetFile(path) as file:
        tables = [file.read_row_group(number) for number in range(file.num_row_groups)]
    with open_index_writer(path) as writer:
        for table in tables:
            columns = table.to_pydict()
            change(columns)
            writer.write_table(pa.Table.from_pydict(columns, INDEX_SCHEMA))


def swap_first(name: str) -> Callable[[dict[str, list[object]]], None]:
    """A change that swaps the first two values of a column."""

    def change(columns: dict[str, list[object]]) -> None:
        column = columns[name]
        column[:2] = column[1::-1]

    return change


def replace_first(name: str, value: object) -> Callable[[dict[str, list[object]]], None]:
    """A change that replaces the first value of a column."""

    def change(columns: dict[str, list[object]]) -> None:
        columns[name][0] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        replace_first("text", "text 0"),  # as long as the one before
        replace_first("key", "a-99999999"),
        replace_first("crc32", 7),
        replace_first("num_samples", 15_999),
        swap_first("text"),
        swap_first("crc32"),
    ],
)
def test_other_content_is_told_apart(change: Callable[[dict[str, list[object]]], None], tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "a", (3, 2))
    before = hash_of(folder)
    change_index(folder, lambda columns: None)
    assert hash_of(folder) == before
    change_index(folder, change)
    assert hash_of(folder) != before


def test_order_and_division_are_told_apart(tmp_path: Path) -> None:
    first = make_folder(tmp_path / "a", (3, 2))
    second = make_folder(tmp_path / "b", (3, 2))
    divided = make_folder(tmp_path / "divided" / "a", (2, 3))
    assert len({hash_of(first), hash_of(divided), hash_of(first, second), hash_of(second, first)}) == 4


def test_where_the_data_lie_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder(tmp_path / "a", (3, 0, 2))
    copied = shutil.copytree(folder, tmp_path / "elsewhere" / "data")
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    ways = [folder, copied, "a", "./a", "a/", "link", "elsewhere/../a"]
    assert len({hash_of(way) for way in ways}) == 1


def test_how_much_is_read_at_a_time_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder(tmp_path / "a", (3, 1, 0, 2))
    hashes = set()
    for shards in (1, 2, 3, 64):
        monkeypatch.setattr(content, "CHUNK_SHARDS", shards)
        hashes.add(hash_of(folder))
    assert len(hashes) == 1


def test_the_hash_of_a_folder_stays_what_it_was(tmp_path: Path) -> None:
    assert hash_of(make_folder(tmp_path / "a", (3, 2))) == "8934d4d76662b41e"
