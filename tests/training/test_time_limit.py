"""--max_minutes: as many steps as fit, and an end in time that is one of the run."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.contexts import make_context

from asrscale.model.building import build_recognizer
from asrscale.training.config import train_config
from asrscale.training.recipe import Situation, recommend
from asrscale.training.run import train
from asrscale.training.time_limit import deadline, fit_into, measure_speed
from asrscale.training.watch import Watch

RECIPE = recommend(Situation(hours=2, utterances=2_000, start="random weights", width=96))


def test_measuring_the_speed_leaves_no_trace(tone_shards: Path) -> None:
    context = make_context(tone_shards)
    recognizer = build_recognizer("tiny", "", dropout=0.1)
    model = recognizer.model
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    random_before = torch.get_rng_state()
    assert measure_speed(context.config, context.plan, recognizer, context.world) > 0
    assert torch.get_rng_state().equal(random_before)
    assert all(weight.equal(before[name]) for name, weight in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_steps_follow_from_the_time_and_never_exceed_the_recipe(tone_shards: Path) -> None:
    def steps_in(minutes: float) -> int:
        context = make_context(tone_shards, max_minutes=minutes)
        recipe, reserved_seconds = fit_into(
            context.config, RECIPE, context.plan, context.valid, context.recognizer, context.world
        )
        assert reserved_seconds > 0
        return recipe.steps

    assert steps_in(1e-3) == 1  # the time is over already
    assert steps_in(1e6) == RECIPE.steps


def test_a_run_out_of_time_ends_with_a_model_and_is_complete(
    tone_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, Any] = dict(train=(str(tone_shards / "train"),), valid=(str(tone_shards / "valid"),), model="tiny")
    given |= dict(run=str(tmp_path), wandb="off", max_minutes=1e-3, max_steps=500, config="ds_configs/zero0.json")
    assert train(train_config(**given), Watch(tmp_path)) == 0
    assert "--max_minutes 0.001 are over: stopped after step 1" in capsys.readouterr().err
    [checkpoint] = (tmp_path / "checkpoints").glob("step-*")
    state = json.loads((checkpoint / "state.json").read_text())
    assert (state["step"], state["evaluated_step"], state["is_out_of_time"]) == (1, 1, True) and state["seconds"] > 0
    assert (tmp_path / "model" / "model.safetensors").is_file()
    assert train(train_config(**given), Watch(tmp_path)) == 0
    assert "is complete" in capsys.readouterr().err


def test_time_that_earlier_attempts_took_counts() -> None:
    fresh = deadline(60.0, reserved_seconds=100.0, seconds_before=0.0)
    resumed = deadline(60.0, reserved_seconds=100.0, seconds_before=600.0)
    assert fresh - resumed == pytest.approx(600, abs=5)
    assert deadline(0.0, reserved_seconds=0.0, seconds_before=0.0) == math.inf
