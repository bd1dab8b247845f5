"""What a run starts from is looked at, and the settings of run and planner follow from it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from asrscale.common import distributed
from asrscale.data.index import read_index
from asrscale.data.mixing import read_mix
from asrscale.model.building import build_meta_recognizer, build_recognizer
from asrscale.model.recognizer import Recognizer
from asrscale.training import recipe_choice
from asrscale.training.config import TrainConfig, train_config
from asrscale.training.recipe_choice import choose_settings, settings_before_a_run
from asrscale.training.recipe_settings import Chosen


def chosen_for(shards: Path, recognizer: Recognizer, run: Path, **given: Any) -> tuple[TrainConfig, Chosen]:
    data: dict[str, Any] = dict(train=(str(shards / "train"),), valid=(str(shards / "valid"),), run=str(run))
    config = train_config(**data | given)
    catalog = read_mix(config.data.train, config.data.mix_temperature)
    with distributed.joined_ranks() as world:
        config, plan, chosen = choose_settings(config, catalog, read_index(config.data.valid), recognizer, world)
    assert plan.batch_samples == int(config.batching.batch_seconds * 16_000) and not config.open
    return config, chosen


def test_an_architecture_starts_from_random_weights(tone_shards: Path, tmp_path: Path) -> None:
    config, chosen = chosen_for(tone_shards, build_recognizer("tiny", "abc"), tmp_path, model="tiny")
    assert chosen.start == "random weights" and config.optimisation.learning_rate == 3e-3


def test_a_head_is_believed_by_what_it_transcribes(
    tone_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recognizer = build_recognizer("tiny", "abc")
    _, chosen = chosen_for(tone_shards, recognizer, tmp_path, model="a-folder")
    assert chosen.start == "a new head" and "CER" not in capsys.readouterr().err  # it cannot transcribe

    trained = replace(recognizer, transcribes=True)
    config, chosen = chosen_for(tone_shards, trained, tmp_path, model="a-folder")
    assert chosen.start == "a new head"
    assert "before training: its head has to learn such speech as a new one" in capsys.readouterr().err

    monkeypatch.setattr(recipe_choice, "TRANSCRIBES_BELOW_CER", 1e9)
    better, chosen = chosen_for(tone_shards, trained, tmp_path, model="a-folder")
    assert chosen.start == "a head that transcribes" and "its head transcribes" in capsys.readouterr().err
    assert better.optimisation.learning_rate < config.optimisation.learning_rate


def test_a_warm_up_that_is_too_long_is_said(
    tone_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = dict(model="tiny", max_steps=30, warmup_steps=500)
    config, _ = chosen_for(tone_shards, build_recognizer("tiny", "abc"), tmp_path, **given)
    assert config.optimisation.warmup_steps == 3
    assert "--warmup_steps 500 would take all 30 steps of the run: 3 instead" in capsys.readouterr().err


@pytest.mark.parametrize("hours", [1 / 6, 1, 10, 100, 1_000, 10_000])
def test_the_planner_chooses_without_data(hours: float) -> None:
    recognizer = build_meta_recognizer("tiny", dtype=torch.float32)
    config = train_config(train=(), valid=(), model="tiny")
    config, plan, chosen = settings_before_a_run(config, None, hours, recognizer)
    assert plan is None and not config.open and chosen.hours == hours
    assert config.batching.max_steps >= 1 and config.optimisation.warmup_steps < config.batching.max_steps


def test_the_planner_and_the_run_choose_the_same(tone_shards: Path, tmp_path: Path) -> None:
    recognizer = build_recognizer("tiny", "abc")
    of_run, _ = chosen_for(tone_shards, recognizer, tmp_path, model="tiny")
    config = train_config(train=(str(tone_shards / "train"),), valid=(str(tone_shards / "valid"),), model="tiny")
    catalog = read_mix(config.data.train, config.data.mix_temperature)
    of_plan, _, _ = settings_before_a_run(config, catalog, 0.0, recognizer)
    assert (of_plan.batching, of_plan.optimisation) == (of_run.batching, of_run.optimisation)
