"""Open settings are filled in, given ones never changed, and a run that goes on keeps what it began with."""

import json
from pathlib import Path
from typing import Any

import pytest

from asrscale.training.config import RECIPE_SETTINGS, TrainConfig, to_dict, train_config
from asrscale.training.recipe import Recipe, Situation, recommend
from asrscale.training.recipe_settings import (
    Chosen,
    adopt,
    count_steps,
    describe_recipe,
    earlier_settings,
    read_chosen,
    shorten_warmup,
    with_batches,
    with_length,
)

DATA = dict(train=("a",), valid=("b",))
STEPS_PER_EPOCH = 45
RECIPE = recommend(Situation(hours=1, utterances=720, start="a new head", width=768))


def completed(recipe: Recipe = RECIPE, evaluated_seconds: float = 100.0, **given: Any) -> TrainConfig:
    config = with_batches(train_config(**DATA, **given), recipe)
    return with_length(config, recipe, STEPS_PER_EPOCH, evaluated_seconds)


def test_everything_open_is_filled_in() -> None:
    config = completed()
    assert not config.open
    assert config.batching.step_seconds == RECIPE.step_seconds == 80
    assert config.batching.max_steps == RECIPE.steps == 2_500
    assert (config.optimisation.warmup_steps, config.optimisation.freeze_steps) == (250, 250)
    assert (config.evaluation.eval_steps, config.evaluation.save_steps, config.tracking.log_steps) == (125, 125, 12)


@pytest.mark.parametrize(
    "given",
    [
        dict(learning_rate=0.5),
        dict(warmup_steps=0),
        dict(patience=0),
        dict(mask_time_prob=0.0, layerdrop=0.0),
        dict(eval_steps=7, save_steps=9, log_steps=3),
        dict(batch_seconds=3.0, units_per_step=5),
        dict(max_steps=3),
        dict(freeze_feature_encoder=False),
    ],
)
def test_what_is_given_stays(given: dict[str, Any]) -> None:
    settings = to_dict(completed(**given))
    assert {name: settings[name] for name in given} == given


def test_the_other_half_of_a_steps_size_follows_the_given_one() -> None:
    assert completed(batch_seconds=10.0).batching.units_per_step == 8
    assert completed(units_per_step=1).batching.batch_seconds == 80
    assert completed(batch_seconds=1_000.0).batching.units_per_step == 1


def test_steps_of_another_size_make_as_much_audio() -> None:
    assert completed(batch_seconds=40.0, units_per_step=1).batching.max_steps == 5_000


def test_given_epochs_say_how_long_the_run_is() -> None:
    config = completed(epochs=2.0)
    assert count_steps(config, STEPS_PER_EPOCH) == 90
    assert config.optimisation.warmup_steps == 9 and config.evaluation.eval_steps == 5


def test_evaluations_take_their_share_of_the_time_and_no_more() -> None:
    assert completed(evaluated_seconds=24 * 500).evaluation.eval_steps == 500
    assert completed(evaluated_seconds=24 * 1_500).evaluation.eval_steps == 625  # four of a run all the same
    assert completed(evaluated_seconds=60_000.0).evaluation.eval_steps == 750  # but not more audio than is trained on
    assert completed(evaluated_seconds=1e9).evaluation.eval_steps == 2_500  # only the last


def test_a_warm_up_longer_than_the_run_is_shortened_and_said() -> None:
    config, note = shorten_warmup(completed(warmup_steps=500, max_steps=9), 9)
    assert config.optimisation.warmup_steps == 0
    assert note == "--warmup_steps 500 would take all 9 steps of the run: 0 instead"
    assert shorten_warmup(completed(), 2_500)[1] == ""


def test_a_run_that_goes_on_keeps_what_was_chosen_for_it(tmp_path: Path) -> None:
    config = completed()
    chosen = Chosen(1.0, "a new head", tuple(sorted(RECIPE_SETTINGS)))
    assert earlier_settings(tmp_path) is None
    (tmp_path / "config.json").write_text(json.dumps(to_dict(config) | {"recipe": chosen.to_json()}))
    assert earlier_settings(tmp_path) is None  # without a checkpoint it begins anew
    (tmp_path / "checkpoints" / "step-00000010").mkdir(parents=True)
    earlier = earlier_settings(tmp_path)
    assert earlier is not None and read_chosen(earlier) == chosen
    assert to_dict(adopt(train_config(**DATA), earlier)) == to_dict(config)
    assert adopt(train_config(**DATA, learning_rate=1.0), earlier).optimisation.learning_rate == 1.0
    (tmp_path / "config.json").write_text("[")
    assert earlier_settings(tmp_path) is None


def test_a_run_of_an_older_version_keeps_its_epochs(tmp_path: Path) -> None:
    older = to_dict(train_config(**DATA)) | {"max_steps": 0, "epochs": 3.0, "eval_steps": 500}
    config = adopt(train_config(**DATA), older)
    assert not config.open and count_steps(config, STEPS_PER_EPOCH) == 135 and config.evaluation.eval_steps == 500
    assert read_chosen(older).names == ()


def test_the_description_tells_what_was_given() -> None:
    config = completed(learning_rate=0.5)
    chosen = Chosen(1.0, "a new head", tuple(set(RECIPE_SETTINGS) - {"learning_rate"}))
    first, *lines = describe_recipe(config, chosen, 2_500, STEPS_PER_EPOCH).splitlines()
    assert first == "for 1 h and a new head:"
    assert "2,500 steps of 80 s, 55.6 epochs" in lines[0]
    assert lines[1].endswith("--learning_rate (given) --schedule --warmup_steps")
