"""The recipes: sane at every size, and beside those that were published."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import get_args

import pytest

from asrscale.training.recipe import MAX_EPOCHS, Situation, Start, recommend

HOURS = (1 / 3600, 0.01, 1 / 6, 0.5, 1, 3, 10, 30, 100, 300, 1_000, 10_000, 1_000_000)
BASE = Situation(hours=10, utterances=7_200, start="a new head", width=768)


def situation(hours: float, start: Start = "a new head", width: int = 768) -> Situation:
    return Situation(hours=hours, utterances=math.ceil(hours * 720), start=start, width=width)  # of 5 s


@pytest.mark.parametrize("start", get_args(Start))
@pytest.mark.parametrize("width", [96, 512, 768, 1_280, 1_920])
def test_there_is_a_recipe_for_any_amount_of_data(start: Start, width: int) -> None:
    recipes = [recommend(situation(hours, start, width)) for hours in HOURS]
    for hours, recipe in zip(HOURS, recipes, strict=True):
        assert recipe.steps >= 1
        assert 0 < recipe.step_seconds <= max(hours * 3600, 1)
        assert recipe.audio_seconds <= 1.06 * MAX_EPOCHS * hours * 3600  # steps are rounded to two digits
        assert 0 < recipe.learning_rate < 0.01
    # More data: no smaller steps, no less audio, no higher rate.
    for smaller, larger in pairwise(recipes):
        assert larger.step_seconds >= smaller.step_seconds
        assert larger.audio_seconds >= smaller.audio_seconds
        assert larger.learning_rate <= smaller.learning_rate


def test_a_head_that_transcribes_gets_a_fifth_of_the_rate_and_less_audio() -> None:
    for hours in HOURS[2:]:
        new = recommend(situation(hours))
        trained = recommend(situation(hours, "a head that transcribes"))
        assert 0.1 <= trained.learning_rate / new.learning_rate <= 0.25
        assert trained.audio_seconds < new.audio_seconds
        assert trained.freeze_share == 0


def test_the_head_is_trained_alone_first_where_it_is_new_and_data_are_few() -> None:
    assert recommend(BASE).freeze_share == 0.1
    assert recommend(situation(960)).freeze_share == 0
    assert recommend(replace(BASE, trains_additions=True)).freeze_share == 0


@pytest.mark.parametrize(
    ("hours", "time", "feature", "layerdrop"),
    [(1, 0.65, 0.25, 0.1), (10, 0.65, 0.5, 0.05), (100, 0.65, 0.5, 0.1), (960, 0.5, 0.1, 0.1)],
)
def test_regularisation_is_that_of_fairseqs_recipes(
    hours: float, time: float, feature: float, layerdrop: float
) -> None:
    recipe = recommend(situation(hours))
    assert (recipe.mask_time_prob, recipe.mask_feature_prob, recipe.layerdrop) == (time, feature, layerdrop)


def test_the_demo_has_the_recipe_that_it_was_found_with() -> None:
    recipe = recommend(Situation(hours=2.66, utterances=4_000, start="random weights", width=96))
    assert (recipe.steps, recipe.step_seconds, recipe.learning_rate) == (4_000, 12, 3e-3)
    assert (recipe.schedule, recipe.warmup_share * recipe.steps) == ("cosine", 100)
    assert (recipe.mask_time_prob, recipe.layerdrop, recipe.freeze_feature_encoder) == (0, 0, False)


@pytest.mark.parametrize(
    ("hours", "width", "lowest", "highest"),
    [
        (1, 768, 5e-5, 3e-4),  # fairseq's base_1h; Hugging Face's for a Common Voice language
        (10, 1_024, 1e-4 / 2, 3e-4),  # fairseq's vox_10h; Hugging Face's XLS-R
        (100, 768, 3e-5, 1e-4),  # fairseq's base_100h
        (960, 768, 1e-5, 1e-4),  # fairseq's base_960h
    ],
)
def test_rates_of_a_new_head_lie_between_the_published_ones(
    hours: float, width: int, lowest: float, highest: float
) -> None:
    assert lowest <= recommend(situation(hours, width=width)).learning_rate <= highest * 1.2


def test_a_small_model_with_a_new_head_is_trained_as_from_random_weights() -> None:
    small = situation(2, width=96)
    assert recommend(small) == recommend(replace(small, start="random weights"))


def test_a_step_is_of_some_utterances_however_long_they_are() -> None:
    long = Situation(hours=1, utterances=180, start="a new head", width=768)  # of 20 s
    assert recommend(long).step_seconds == 160


def test_additions_learn_faster() -> None:
    whole, additions = recommend(BASE), recommend(replace(BASE, trains_additions=True))
    assert additions.learning_rate == pytest.approx(10 * whole.learning_rate, rel=0.05)
