"""The catalog: what data set folders record, and which of them are refused."""

import json
import re
from pathlib import Path

import pytest
from helpers.folders import make_folder, read_dataset, refusal

from asrscale.common.errors import CliError
from asrscale.data.catalog import DATASET_FILE, INDEX_FILE, read_catalog
from asrscale.data.index import read_index
from asrscale.speech.normalisation import FORMER_STEPS, NEUTRAL, TextRules, steps_of


def test_folders_are_joined_shard_by_shard(tmp_path: Path) -> None:
    b, a = make_folder(tmp_path / "b", (2, 0, 3)), make_folder(tmp_path / "a", (1,))
    catalog = read_catalog([str(b), str(a)])
    names = (b / "b-000000.tar", b / "b-000001.tar", b / "b-000002.tar", a / "a-000000.tar")
    assert catalog.shards == tuple(map(str, names))
    assert catalog.shard_bytes.tolist() == [200, 0, 300, 100]
    assert catalog.utterances.tolist() == [2, 0, 3, 1]
    assert catalog.samples.tolist() == [16_000 * seconds for seconds in (3, 0, 12, 1)]
    assert catalog.longest_samples.tolist() == [16_000 * seconds for seconds in (2, 0, 5, 1)]
    assert catalog.row_groups.tolist() == [0, -1, 1, 0]  # of the index of its folder
    assert catalog.characters == {"t": 6}
    assert catalog.hours == pytest.approx(16 / 3600)


def test_missing_folder_and_empty_folder(tmp_path: Path) -> None:
    assert f"{tmp_path / 'absent'}: no such folder" in refusal(tmp_path / "absent")
    line = refusal(tmp_path)
    assert f"{tmp_path}: no {DATASET_FILE} here" in line and "build it with asrscale.shard" in line


def test_the_folder_above_names_the_data_sets_in_it(tmp_path: Path) -> None:
    make_folder(tmp_path / "cv/train", (1,))
    make_folder(tmp_path / "cv/valid", (1,))
    assert "give one of cv/train, cv/valid" in refusal(tmp_path / "cv")


def test_only_training_data_have_weights(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "a", (1,))
    assert (
        refusal(Path(f"{folder}=0.3")) == f"{folder}=0.3: no such folder: weights are for --train only: give {folder}"
    )


def test_an_interrupted_build_is_no_data_set(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "a", (1,))
    (folder / DATASET_FILE).unlink()
    assert "no finished data set" in refusal(folder)


def test_zero_utterances(tmp_path: Path) -> None:
    assert "holds no utterance" in refusal(make_folder(tmp_path / "a", (0,)))


def test_another_schema_version(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "a", (1,))
    dataset = read_dataset(folder)
    (folder / DATASET_FILE).write_text(json.dumps({**dataset, "schema_version": 99}))
    assert re.search(r"schema version 99.*: build the folder again", refusal(folder))


@pytest.mark.parametrize("content", [b"", b"nonsense", b"{}", b"[]"])
def test_a_damaged_dataset(tmp_path: Path, content: bytes) -> None:
    folder = make_folder(tmp_path / "a", (1,))
    (folder / DATASET_FILE).write_bytes(content)
    assert re.search(rf"{folder}: {DATASET_FILE} is damaged \(.*: build the folder again", refusal(folder))


@pytest.mark.parametrize("name", ["file", "bytes", "utterances", "samples", "longest_samples"])
def test_a_dataset_that_says_too_little_of_a_shard(tmp_path: Path, name: str) -> None:
    folder = make_folder(tmp_path / "a", (1,))
    dataset = read_dataset(folder)
    del dataset["shards"][0][name]
    (folder / DATASET_FILE).write_text(json.dumps(dataset))
    assert f"{DATASET_FILE} is damaged ('{name}')" in refusal(folder)


@pytest.mark.parametrize("counts", [1e308, ["a"], {"a": "x"}, {"a": 1.5}, {"a": -1}, {"a": True}, {"a": 2**70}, None])
def test_counts_of_characters_that_are_none(tmp_path: Path, counts: object) -> None:
    folder = make_folder(tmp_path / "a", (1,))
    (folder / DATASET_FILE).write_text(json.dumps({**read_dataset(folder), "characters": counts}))
    assert f"{DATASET_FILE} is damaged (counts are no counts)" in refusal(folder)


def test_what_is_missing_is_named_before_anything_is_read(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "a", (1, 2, 1))
    for number in (1, 2):
        (folder / f"a-00000{number}.tar").unlink()
    with pytest.raises(CliError, match=r"/a/a-000001\.tar is missing, and 1 more files: copy it again or build"):
        read_catalog([str(folder)])
    (make_folder(tmp_path / "b", (1,)) / INDEX_FILE).unlink()
    with pytest.raises(CliError, match=r"/b/index\.parquet is missing: copy it again or build"):
        read_catalog([str(tmp_path / "b")])


def test_transcripts_that_another_version_normalised_are_read_and_said_where_it_makes_a_difference(
    own_shards: Path,
) -> None:
    path = own_shards / "train/dataset.json"
    dataset = json.loads(path.read_bytes())
    assert read_catalog([str(own_shards / "train")]).notes == ()
    del dataset["text"]  # as older versions wrote it
    former = dataset | {"normalisation": list(FORMER_STEPS)}
    path.write_text(json.dumps(former))
    catalog = read_catalog([str(own_shards / "train")])
    assert catalog.notes == () and set(catalog.text_rules) == {NEUTRAL}  # English letters, the same then and now
    path.write_text(json.dumps(former | {"characters": {"a": 2, "\u00e5": 1}}))
    [note] = read_catalog([str(own_shards / "train")]).notes
    assert "normalised by the steps of another version of asrscale" in note and "--language CODE" in note


def test_the_rules_of_transcripts_are_those_of_each_folder(own_shards: Path) -> None:
    path = own_shards / "valid/dataset.json"
    dataset = json.loads(path.read_bytes())
    rules = TextRules(language="tr", keep_case=True)
    path.write_text(json.dumps(dataset | {"text": rules.to_json(), "normalisation": list(steps_of(rules))}))
    index = read_index([str(own_shards / "train"), str(own_shards / "valid")])
    assert [index.rules(0), index.rules(len(index) - 1)] == [NEUTRAL, rules]
    path.write_text(json.dumps(dataset | {"text": {"tongue": "tr"}}))
    with pytest.raises(CliError, match=r"dataset\.json is damaged"):
        read_catalog([str(own_shards / "valid")])


def test_a_data_set_is_given_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder(tmp_path / "a", (1,))
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CliError, match=r"^a: this data set is given twice: give it once$"):
        read_catalog(["a", "a"])
    for other in ("./a", "a/", "link", str(folder), "b/../a"):
        with pytest.raises(CliError, match=rf"this data set is given twice, as a and as {re.escape(other)}: give it"):
            read_catalog(["a", other])
    with pytest.raises(CliError, match="is given twice, as s3://bucket/a and as s3://bucket/a/"):
        read_catalog(["s3://bucket/a", "s3://bucket/a/"])


@pytest.mark.parametrize(
    "name", ["{}/b/b-000000.tar", "../b/b-000000.tar", "sub/x.tar", "", "..", "a\\b.tar", "a\0.tar", 3]
)
def test_a_shard_of_another_folder_is_refused(name: object, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "a", (1,))
    make_folder(tmp_path / "b", (1,))
    dataset = read_dataset(folder)
    dataset["shards"][0]["file"] = name.format(tmp_path) if isinstance(name, str) else name
    (folder / DATASET_FILE).write_text(json.dumps(dataset))
    assert "is not the name of a file in the folder" in refusal(folder)


def test_a_remote_data_set_cannot_name_a_local_shard(tmp_path: Path) -> None:
    private = make_folder(tmp_path / "private", (1,))
    folder = make_folder(tmp_path / "public", (1,))
    dataset = read_dataset(folder)
    dataset["shards"][0]["file"] = str(private / "private-000000.tar")
    (folder / DATASET_FILE).write_text(json.dumps(dataset))
    with pytest.raises(CliError, match="is not the name of a file in the folder"):
        read_catalog([f"file://{folder}"])
