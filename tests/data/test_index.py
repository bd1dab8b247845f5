"""The index: what is written is read back, and what is damaged is named."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.folders import make_folder, refusal

from asrscale.common.errors import CliError
from asrscale.common.storage import Range
from asrscale.data.catalog import INDEX_FILE, SCHEMA_VERSION, read_catalog
from asrscale.data.index import read_index, read_shards, write_index


def test_folders_are_joined_in_the_order_given(tmp_path: Path) -> None:
    b, a = make_folder(tmp_path / "b", (2, 3)), make_folder(tmp_path / "a", (1,))
    index = read_index([str(b), str(a)])
    assert len(index) == 6
    assert index.shards == (str(b / "b-000000.tar"), str(b / "b-000001.tar"), str(a / "a-000000.tar"))
    assert index.shard_ids.tolist() == [0, 0, 1, 1, 1, 2]
    assert index.offsets.tolist() == [0, 100, 0, 100, 200, 0]
    assert index.sizes.tolist() == [100] * 6
    assert index.crc32.tolist() == [2**32 - number for number in (1, 2, 3, 4, 5, 1)]
    assert index.num_samples.tolist() == [16_000 * number for number in (1, 2, 3, 4, 5, 1)]
    assert index.texts.to_pylist() == [f"text {number}" for number in (1, 2, 3, 4, 5, 1)]
    assert index.speakers.to_pylist() == ["ann", None, "ann", None, "ann", "ann"]
    assert index.hours == pytest.approx(16 / 3600)
    assert index.name(3) == f"{b / 'b-000001.tar'}:b-00000004"
    assert index.payload(3) == Range(str(b / "b-000001.tar"), 100, 100)
    dtypes = [column.dtype for column in (index.shard_ids, index.offsets, index.sizes, index.crc32, index.num_samples)]
    assert dtypes == [np.int32, np.int64, np.int64, np.uint32, np.int64]


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["cv/train"], [""]),
        (["cv/train", "orders/train"], ["cv/train/", "orders/train/"]),
        (["cv/train", "cv/extra"], ["train/", "extra/"]),
        (["a/x/train", "b/x/train", "b/y/train"], ["a/x/train/", "b/x/train/", "b/y/train/"]),
    ],
)
def test_keys_of_several_folders_are_told_apart(folders: list[str], names: list[str], tmp_path: Path) -> None:
    """The names do not depend on where the folders lie together."""
    for root in (tmp_path, tmp_path / "moved" / "elsewhere"):
        index = read_index([str(make_folder(root / folder, (2,))) for folder in folders])
        unique = [index.unique_key(number) for number in range(len(index))]
        keys = [f"{Path(folder).name}-{number:08d}" for folder in folders for number in (1, 2)]
        assert unique == [name + key for name, key in zip(np.repeat(names, 2), keys, strict=True)]
        assert index.take(np.array([1])).unique_key(0) == unique[1]


def test_take_keeps_the_requested_order(tmp_path: Path) -> None:
    index = read_index([str(make_folder(tmp_path / "a", (2, 3)))])
    part = index.take(np.array([4, 0, 2]))
    assert part.keys.to_pylist() == ["a-00000005", "a-00000001", "a-00000003"]
    assert [part.name(i) for i in range(3)] == [index.name(i) for i in (4, 0, 2)]
    assert part.num_samples.tolist() == [80_000, 16_000, 48_000]
    assert part.texts.to_pylist() == ["text 5", "text 1", "text 3"]
    assert len(index.take(np.array([], np.int64))) == 0


def test_relative_folders_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path / "a", (1,))
    monkeypatch.chdir(tmp_path)
    assert read_index(["a"]).shards == (str(tmp_path / "a/a-000000.tar"),)


def test_one_row_group_a_shard_and_the_version_in_the_metadata(tmp_path: Path) -> None:
    file = pq.ParquetFile(make_folder(tmp_path / "a", (2, 3)) / INDEX_FILE)
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [2, 3]
    assert file.schema_arrow.metadata[b"asrscale_schema_version"] == str(SCHEMA_VERSION).encode()
    names = "key shard offset size crc32 num_samples text speaker"
    assert file.schema_arrow.names == names.split()


def test_a_shard_whose_rows_were_all_rejected(tmp_path: Path) -> None:
    index = read_index([str(make_folder(tmp_path / "a", (1, 0, 2)))])
    assert index.shard_ids.tolist() == [0, 2, 2]


def test_an_index_of_another_schema_version_than_its_dataset(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "a", (1,))
    table = pq.read_table(folder / INDEX_FILE)
    pq.write_table(table.replace_schema_metadata({"asrscale_schema_version": "99"}), folder / INDEX_FILE)
    assert "does not hold what" in refusal(folder)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"{}", b"[]"])
def test_a_damaged_index(tmp_path: Path, content: bytes) -> None:
    folder = make_folder(tmp_path / "a", (1,))
    (folder / INDEX_FILE).write_bytes(content)
    assert re.search(rf"{folder}/{INDEX_FILE} is damaged \(.*: build the folder again", refusal(folder))


def test_a_parquet_that_is_no_index(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "a", (1,))
    pq.write_table(pa.table({"key": ["a"]}), folder / INDEX_FILE)
    assert "damaged" in refusal(folder)


def test_index_and_dataset_that_disagree(tmp_path: Path) -> None:
    a, b = make_folder(tmp_path / "a", (1,)), make_folder(tmp_path / "b", (2,))
    (a / INDEX_FILE).write_bytes((b / INDEX_FILE).read_bytes())
    assert "does not hold what" in refusal(a)
    c = make_folder(tmp_path / "c", (1,))
    (a / INDEX_FILE).write_bytes((c / INDEX_FILE).read_bytes())
    assert "does not hold what" in refusal(a)


def test_a_shard_of_another_size_is_named_when_it_is_first_needed(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "a", (1, 2))
    shard = folder / "a-000001.tar"
    shard.write_bytes(bytes(150))
    catalog = read_catalog([str(folder)])
    assert len(read_shards(catalog, [0])) == 1
    with pytest.raises(CliError, match=rf"{shard}: the shard has 150 bytes, not 200: copy it again"):
        read_shards(catalog, [0, 1])
    shard.unlink()
    with pytest.raises(CliError, match=rf"{shard}: the shard is missing: copy it again"):
        read_shards(catalog, [1])


def test_starting_opens_no_index_and_its_footer_is_parsed_once(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "a", (1, 2, 3))
    path = folder / INDEX_FILE
    whole = path.read_bytes()
    path.write_bytes(b"nonsense")
    catalog = read_catalog([str(folder)])
    assert catalog.utterances.tolist() == [1, 2, 3] and catalog.shard_bytes.tolist() == [100, 200, 300]
    path.write_bytes(whole)
    assert read_shards(catalog, [1]).keys.to_pylist() == ["a-00000002", "a-00000003"]
    footer_bytes = catalog.footers[str(path)].serialized_size
    path.write_bytes(whole[: -footer_bytes - 8] + bytes(footer_bytes + 8))
    assert read_shards(catalog, [2]).keys.to_pylist() == ["a-00000004", "a-00000005", "a-00000006"]
    assert "damaged" in refusal(folder)


def test_a_shard_takes_little_of_the_footer(tmp_path: Path) -> None:
    path = make_folder(tmp_path / "a", (20,) * 60) / INDEX_FILE
    assert pq.read_metadata(path).serialized_size < 60 * 500


@pytest.mark.parametrize("num_samples", [-1, 2**36, 2**62])
def test_lengths_that_dataset_json_does_not_know(num_samples: int, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "a", (2, 3))
    rows = pq.read_table(folder / INDEX_FILE).to_pylist()
    rows[3]["num_samples"] = num_samples
    write_index(folder / INDEX_FILE, [rows[:2], rows[2:]])
    assert "does not hold what dataset.json beside it says of the lengths" in refusal(folder)


def test_one_text_a_thousand_times_is_no_index(tmp_path: Path) -> None:
    """Two kilobytes on the disk, four gigabytes in memory."""
    folder = make_folder(tmp_path / "a", (2_000,))
    table = pq.read_table(folder / INDEX_FILE)
    texts = pa.array(["a" * 2_000_000], pa.large_string()).take(pa.array([0] * 10))
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 2_000, pa.int32()), texts[:1])
    place = table.schema.get_field_index("text")
    table = table.set_column(place, pa.field("text", texts.type, nullable=False), texts)
    pq.write_table(table, folder / INDEX_FILE, compression="zstd")
    assert (folder / INDEX_FILE).stat().st_size < 200_000
    pool = pa.proxy_memory_pool(pa.default_memory_pool())
    before = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        assert "text has 4,000,000,000 bytes in 2,000 rows" in refusal(folder)
    finally:
        pa.set_memory_pool(before)
    assert pool.max_memory() < 64 * 2**20


def test_an_older_index_with_dictionaries_is_read(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "a", (2, 3))
    table = pq.read_table(folder / INDEX_FILE)
    with pq.ParquetWriter(folder / INDEX_FILE, table.schema, use_dictionary=True) as writer:
        writer.write_table(table[:2])
        writer.write_table(table[2:])
    assert read_index([str(folder)]).texts.to_pylist() == [f"text {number}" for number in range(1, 6)]
