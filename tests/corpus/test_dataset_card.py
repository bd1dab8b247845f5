"""The README.md of a build, for the library `datasets` and the hub."""

from pathlib import Path

import pytest
import yaml
from helpers.sharding import shard, write_clip, write_csv

from asrscale.corpus.dataset_card import CARD_FILE, MARK


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten utterances of train, of which the eighth alone has an age, and two of test-clean."""
    folder = tmp_path_factory.mktemp("card")
    for number in range(12):
        write_clip(folder / f"{number}.wav")
    rows = [
        (f"{n}.wav", f"text {n}", "train" if n < 10 else "test-clean", "teens" if n == 5 else "") for n in range(12)
    ]
    table = write_csv(folder / "a.csv", rows, "filename,text,part,age")
    shard("--csv", table, "--split_column", "part", "--out", folder / "out")
    return folder / "out"


def metadata_of(card: Path) -> dict[str, object]:
    """What stands between the dashes."""
    metadata: dict[str, object] = yaml.safe_load(card.read_text().split("---")[1])
    return metadata


def test_splits_and_columns(built: Path) -> None:
    metadata = metadata_of(built / CARD_FILE)
    assert metadata["configs"] == [
        {
            "config_name": "default",
            "data_files": [
                {"split": "test_clean", "path": "test-clean/*.tar"},
                {"split": "train", "path": "train/*.tar"},
            ],
        }
    ]
    names = ["age", "audio", "part", "source", "speaker"]
    assert metadata["dataset_info"]["features"] == [  # type: ignore[index]
        *({"name": name, "dtype": "string"} for name in ("__key__", "__url__", "txt")),
        {"name": "flac", "dtype": "audio"},
        {"name": "json", "struct": [{"name": name, "dtype": "string"} for name in names]},
    ]
    assert "| train | 10 | 0.00 |" in (built / CARD_FILE).read_text()


def test_a_card_that_somebody_wrote_stays(built: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "a.wav")
    table = write_csv(tmp_path / "a.csv", [("a.wav", "one")])
    card = tmp_path / "out" / CARD_FILE
    shard("--csv", f"train={table}", "--out", tmp_path / "out")
    shard("--csv", f"test={table}", "--out", tmp_path / "out")
    assert len(metadata_of(card)["configs"][0]["data_files"]) == 2  # type: ignore[index]  # both builds'
    card.write_text(card.read_text().replace(MARK, "license: cc0-1.0"))
    own = card.read_text()
    shard("--csv", f"valid={table}", "--out", tmp_path / "out")
    assert card.read_text() == own


def test_datasets_loads_the_folder(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets = pytest.importorskip("datasets", reason="`make bench` installs it")
    pytest.importorskip("torchcodec", reason="`make bench` installs it")
    loaded = datasets.load_dataset(str(built), cache_dir=str(tmp_path / "cache"))
    assert {name: len(split) for name, split in loaded.items()} == {"train": 10, "test_clean": 2}
    rows = [*loaded["train"].cast_column("flac", datasets.Audio(decode=False))]
    assert sorted(row["txt"] for row in rows) == [f"text {number}" for number in range(10)]
    assert [row["json"]["audio"] for row in rows if row["json"]["age"] == "teens"] == ["5.wav"]
    assert all(row["flac"]["bytes"].startswith(b"fLaC") for row in rows)
