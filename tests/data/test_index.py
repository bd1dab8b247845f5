"""The index: what is written is read back, and what is damaged is named."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asrscale.common.errors import CliError
from asrscale.data.catalog import DATASET_FILE, INDEX_FILE, SCHEMA_VERSION, read_catalog
from asrscale.data.index import read_index, read_shards, write_index

PAYLOAD_BYTES = 100


def make_folder(folder: Path, counts: tuple[int, ...]) -> Path:
    """A data set folder whose shards hold `counts` utterances of 1, 2, 3 … seconds, and no audio."""
    folder.mkdir(parents=True)
    tables, shards, number = [], [], 0
    columns = ("key", "shard", "offset", "size", "crc32", "num_samples", "text", "speaker")
    for shard_number, count in enumerate(counts):
        name = f"{folder.name}-{shard_number:06d}.tar"
        utterances = []
        for position in range(count):
            number += 1
            speaker = "ann" if number % 2 else None
            key, offset = f"{folder.name}-{number:08d}", position * PAYLOAD_BYTES
            row = (key, name, offset, PAYLOAD_BYTES, 2**32 - number, number * 16_000, f"text {number}", speaker)
            utterances.append(dict(zip(columns, row, strict=True)))
        tables.append(utterances)
        (folder / name).write_bytes(bytes(count * PAYLOAD_BYTES))
        samples = [utterance["num_samples"] for utterance in utterances]
        sums = {"utterances": count, "samples": sum(samples), "longest_samples": max(samples, default=0)}
        shards.append({"file": name, "bytes": count * PAYLOAD_BYTES, **sums})
    write_index(folder / INDEX_FILE, tables)
    (folder / DATASET_FILE).write_text(
        json.dumps({"schema_version": SCHEMA_VERSION, "shards": shards, "characters": {"t": number}})
    )
    return folder


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
    dtypes = [column.dtype for column in (index.shard_ids, index.offsets, index.sizes, index.crc32, index.num_samples)]
    assert dtypes == [np.int32, np.int64, np.int64, np.uint32, np.int64]


def test_take_keeps_the_order_asked_for(tmp_path: Path) -> None:
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


def refusal(*folders: Path) -> str:
    with pytest.raises(CliError) as caught:
        read_index([str(folder) for folder in folders])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_folder_and_empty_folder(tmp_path: Path) -> None:
    assert f"{tmp_path / 'absent'}: no such folder" in refusal(tmp_path / "absent")
    line = refusal(tmp_path)
    assert f"{tmp_path}: no {DATASET_FILE} here" in line and "build it with asrscale.shard" in line


def test_the_folder_above_names_the_data_sets_in_it(tmp_path: Path) -> None:
    make_folder(tmp_path / "cv/train", (1,))
    make_folder(tmp_path / "cv/valid", (1,))
    assert "give one of cv/train, cv/valid" in refusal(tmp_path / "cv")


def test_an_interrupted_build_is_no_data_set(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "a", (1,))
    (folder / DATASET_FILE).unlink()
    assert "no finished data set" in refusal(folder)


def test_zero_utterances(tmp_path: Path) -> None:
    assert "holds no utterance" in refusal(make_folder(tmp_path / "a", (0,)))


def test_another_schema_version(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "a", (1,))
    dataset = json.loads((folder / DATASET_FILE).read_text())
    (folder / DATASET_FILE).write_text(json.dumps({**dataset, "schema_version": 99}))
    assert re.search(r"schema version 99.*: build the folder again", refusal(folder))


def test_an_index_of_another_schema_version_than_its_dataset(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "a", (1,))
    table = pq.read_table(folder / INDEX_FILE)
    pq.write_table(table.replace_schema_metadata({"asrscale_schema_version": "99"}), folder / INDEX_FILE)
    assert "does not hold what" in refusal(folder)


@pytest.mark.parametrize("where", [INDEX_FILE, DATASET_FILE])
@pytest.mark.parametrize("content", [b"", b"nonsense", b"{}", b"[]"])
def test_damaged_files(tmp_path: Path, where: str, content: bytes) -> None:
    folder = make_folder(tmp_path / "a", (1,))
    (folder / where).write_bytes(content)
    assert re.search(rf"{folder}(/|: ){where} is damaged \(.*: build the folder again", refusal(folder))


@pytest.mark.parametrize("name", ["file", "bytes", "utterances", "samples", "longest_samples"])
def test_a_dataset_that_says_too_little_of_a_shard(tmp_path: Path, name: str) -> None:
    folder = make_folder(tmp_path / "a", (1,))
    dataset = json.loads((folder / DATASET_FILE).read_text())
    del dataset["shards"][0][name]
    (folder / DATASET_FILE).write_text(json.dumps(dataset))
    assert f"{DATASET_FILE} is damaged ('{name}')" in refusal(folder)


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


def test_what_is_missing_is_named_before_anything_is_read(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "a", (1, 2, 1))
    for number in (1, 2):
        (folder / f"a-00000{number}.tar").unlink()
    with pytest.raises(CliError, match=r"/a/a-000001\.tar is missing, and 1 more files: copy it again or build"):
        read_catalog([str(folder)])
    (make_folder(tmp_path / "b", (1,)) / INDEX_FILE).unlink()
    with pytest.raises(CliError, match=r"/b/index\.parquet is missing: copy it again or build"):
        read_catalog([str(tmp_path / "b")])


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


def test_transcripts_that_were_normalised_otherwise_are_refused(own_shards: Path) -> None:
    """They would be compared with what this version makes of a hypothesis."""
    path = own_shards / "train/dataset.json"
    dataset = json.loads(path.read_bytes())
    path.write_text(json.dumps(dataset | {"normalisation": dataset["normalisation"][1:]}))
    with pytest.raises(CliError, match="its transcripts were normalised otherwise than asrscale does now: build"):
        read_catalog([str(own_shards / "train")])
