"""Finished shards to data set folders."""

import hashlib
import json
from pathlib import Path

import pytest
from helpers.sharding import checksums, refusal, rejected, shard, write_clip, write_csv

from asrscale.data.index import read_index


def test_dataset_json_sums_up_the_shards(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out/train"
    shard("--csv", corpus, "--out", tmp_path / "out", "--shard_utterances", 5)
    dataset = json.loads((folder / "dataset.json").read_text())
    index = read_index([str(folder)])
    assert dataset["utterances"] == len(index) == sum(entry["utterances"] for entry in dataset["shards"])
    assert dataset["hours"] == pytest.approx(index.hours)
    assert dataset["characters"]["s"] == sum(text.count("s") for text in index.texts.to_pylist())
    for entry in dataset["shards"]:
        content = (folder / entry["file"]).read_bytes()
        assert (entry["bytes"], entry["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())


def test_a_damaged_folder_is_built_again_and_the_rejects_of_the_others_stay(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with corpus.open("a") as file:
        file.writelines(f"clips/absent{number}.wav,gone\u2028{number},,\n" for number in range(9))
    shard("--csv", corpus, "--out", out, "--max_rejected", "50%")
    before = checksums(out)
    assert {reject["split"] for reject in rejected(out)} == {"train", "valid"}

    (out / "valid/valid-000000.tar").write_bytes(b"damaged")
    (out / "valid/valid-000007.tar.tmp").write_bytes(b"left over")
    done = shard("--csv", corpus, "--out", out, "--max_rejected", "50%")
    assert "building" in done.stderr
    assert "train: already built" in done.stdout
    assert checksums(out) == before


def test_a_split_whose_rows_are_all_rejected(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_clip(tmp_path / "a.wav")
    (tmp_path / "b.mp3").write_bytes(b"this is no mp3")
    train = write_csv(tmp_path / "t.csv", [("a.wav", "one")])
    test = write_csv(tmp_path / "e.csv", [("b.mp3", "one"), ("a.wav", "...")])
    flags = ("--csv", f"train={train},test={test}", "--out", out, "--max_rejected", 1)

    line = refusal(*flags)
    assert "for test was rejected (empty transcript 1, unreadable 1)" in line
    assert str(out / "rejected.jsonl") in line
    assert len(rejected(out)) == 2
    assert not (out / "test/dataset.json").exists()

    write_clip(tmp_path / "b.mp3")  # repaired: what is left of the first attempt must not hide it
    shard(*flags)
    assert read_index([str(out / "test")]).keys.to_pylist() == ["test-00000002"]
