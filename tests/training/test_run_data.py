"""What a run is given, read before anything else."""

from pathlib import Path

import pytest

from asrscale.common.errors import CliError
from asrscale.data.index import read_index
from asrscale.training.config import train_config
from asrscale.training.run_data import read_run_data


def test_all_folders_of_a_run_are_read(tone_shards: Path) -> None:
    train, valid = str(tone_shards / "train"), str(tone_shards / "valid")
    data = read_run_data(train_config(train=(f"{train}=2",), valid=(valid,), augment="gain@0.5"))
    assert data.catalog.utterances.sum() == len(read_index([train])) and set(data.catalog.weights) == {2.0}
    assert data.valid.keys == read_index([valid]).keys
    assert data.augmentation is not None and "gain" in data.augmentation.description
    assert read_run_data(train_config(train=(train,), valid=(valid,))).augmentation is None


@pytest.mark.parametrize("name", ["train", "valid"])
def test_a_folder_that_is_missing_is_named(name: str, tone_shards: Path, tmp_path: Path) -> None:
    folders = {split: (str(tone_shards / split),) for split in ("train", "valid")}
    missing = str(tmp_path / "nowhere")
    with pytest.raises(CliError, match=f"{missing}: no such folder"):
        read_run_data(train_config(**folders | {name: (missing,)}))
