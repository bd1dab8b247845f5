"""Settings and data that are refused before any work; tests/test_train.py runs trainings."""

from pathlib import Path

import pytest

from asrscale.common.errors import CliError
from asrscale.data.index import read_index
from asrscale.training.config import train_config
from asrscale.training.run import train
from asrscale.training.watch import Watch


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(warmup_steps=500, max_steps=500), "--warmup_steps 500, but the run has 500 steps"),
        (dict(memory_cap_seconds=0.3), "--memory_cap_seconds 0.3 is below the longest utterance, LONGEST: raise it"),
        (dict(config="nowhere.json"), "--config nowhere.json: No such file"),
        (dict(config="Makefile"), "--config Makefile is not valid JSON"),
        (dict(precision="fp16"), "--precision fp16 needs a GPU"),
        (dict(train=("nowhere",)), "nowhere: no such folder"),
        (dict(model="nowhere"), "--model nowhere: no such folder"),
        (dict(precision="bf16", config="ds_configs/zero0.json"), "use ds_configs/zero1.json"),
    ],
)
def test_bad_settings_end_before_any_work(
    given: dict[str, object], message: str, tone_shards: Path, tmp_path: Path
) -> None:
    data = dict(train=(str(tone_shards / "train"),), valid=(str(tone_shards / "valid"),), model="tiny")
    with pytest.raises(CliError) as caught:
        train(train_config(**data | dict(run=str(tmp_path / "run")) | given), Watch(tmp_path))
    index = read_index([str(tone_shards / "train")])
    longest = int(index.num_samples.argmax())
    named = f"{index.num_samples[longest] / 16_000:.1f} s in {index.name(longest)}"
    assert message.replace("LONGEST", named) in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
