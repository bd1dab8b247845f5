"""The verb `verify`."""

import hashlib
import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from helpers.sharding import shard

from asrscale.common.errors import CliError
from asrscale.corpus.verify import verify
from asrscale.data.index import Index, read_index, write_index

WRONG_TAR = "the checksum is not that of dataset.json"


@pytest.fixture
def folder(corpus: Path, tmp_path: Path) -> Path:
    """A data set folder of three shards, of which the second holds utterances 8 to 15."""
    shard("--csv", corpus, "--out", tmp_path / "out", "--valid_fraction", 0, "--shard_utterances", 8)
    return tmp_path / "out/train"


def flip_bit(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def middle_of_recording(index: Index, i: int) -> int:
    return int(index.offsets[i]) + int(index.sizes[i]) // 2


def test_an_intact_folder(folder: Path) -> None:
    assert "23 utterances in 3 shards are as they were built" in shard("verify", "--data", folder).stdout


@pytest.mark.parametrize("damaged", ["recording", "transcript", "header", "length"])
def test_what_is_damaged_is_named(folder: Path, damaged: str) -> None:
    index = read_index([str(folder)])
    tar = folder / "train-000001.tar"
    content = tar.read_bytes()
    if damaged == "recording":
        flip_bit(tar, middle_of_recording(index, 9))
        expected = [WRONG_TAR, f"{index.keys[9]}: the checksum is not that of the index"]
    elif damaged == "transcript":
        flip_bit(tar, content.index(b"sentence"))
        expected = [WRONG_TAR]
    elif damaged == "header":
        flip_bit(tar, int(index.offsets[12]) - 512)
        expected = [WRONG_TAR, "no header and no end at byte"]
    else:
        tar.write_bytes(content[:-20_000])
        expected = ["train-000001.tar: the shard has"]

    done = shard("verify", "--data", folder, expect=2)
    assert f"{len(expected)} faults in" in done.stderr
    for words in expected:
        assert words in done.stdout
    assert str(tar) in done.stdout
    assert "train-000000.tar" not in done.stdout


def test_an_index_that_names_no_member_of_the_tar(folder: Path) -> None:
    """As where tar and dataset.json were made again without the index."""
    tar = folder / "train-000000.tar"
    key = read_index([str(folder)]).keys[0].as_py()
    renamed = key[::-1]  # the sum of its bytes stays, and so does the checksum of the member's header
    before = tar.read_bytes()
    tar.write_bytes(before.replace(key.encode(), renamed.encode()))
    dataset = folder / "dataset.json"
    hashes = [hashlib.sha256(content).hexdigest() for content in (before, tar.read_bytes())]
    dataset.write_text(dataset.read_text().replace(*hashes))

    done = shard("verify", "--data", folder, expect=2)
    assert f"{key}: what the index calls so is no member of the tar" in done.stdout
    assert "1 faults in" in done.stderr


def test_a_hostile_index_costs_its_utterances(folder: Path) -> None:
    path = folder / "index.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[8]["size"] = 2**40
    rows[9]["offset"] = 2**62
    rows[10]["num_samples"] = 7
    write_index(path, [rows[:8], rows[8:16], rows[16:]])
    done = shard("verify", "--data", folder, expect=2)
    assert done.stdout.count("its place in the index lies outside the shard") == 2
    assert re.search(rf"{rows[10]['key']}: (too long: more than 2 s|[\d,]+ samples, the index says 7)", done.stdout)
    assert "MemoryError" not in done.stderr and "Traceback" not in done.stderr


def test_faults_of_several_folders_are_counted_together(folder: Path) -> None:
    index = read_index([str(folder)])
    flip_bit(folder / "train-000000.tar", middle_of_recording(index, 2))
    done = shard("verify", "--data", f"{folder},{folder}", expect=2)
    assert f"4 faults in {folder}, {folder}" in done.stderr


def test_a_dataset_json_without_checksums(own_shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = own_shards / "valid/dataset.json"
    content = json.loads(path.read_text())
    for entry in content["shards"]:
        del entry["sha256"]
    path.write_text(json.dumps(content))
    with pytest.raises(CliError, match=f"{len(content['shards'])} faults in"):
        verify([str(path.parent)])
    assert WRONG_TAR in capsys.readouterr().out
