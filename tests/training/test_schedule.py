from itertools import pairwise

import pytest

from asrscale.training.schedule import LearningRates, average_decay_at, learning_rate_at, learning_rates_at


@pytest.mark.parametrize("schedule", ["linear", "cosine", "tri_stage"])
def test_warm_up_rises_to_the_peak_and_the_rest_falls(schedule: str) -> None:
    rates = [
        learning_rate_at(step, schedule=schedule, peak=1.0, warmup_steps=10, total_steps=100) for step in range(100)
    ]
    assert 0 < rates[0] < rates[5] < rates[10] == 1.0 == max(rates)
    assert all(before >= after for before, after in pairwise(rates[10:]))


def test_linear_ends_just_above_zero() -> None:
    rate = learning_rate_at(99, schedule="linear", peak=1.0, warmup_steps=10, total_steps=100)
    assert rate == pytest.approx(1 / 90)


def test_cosine_holds_to_30_percent_and_ends_at_2_percent() -> None:
    def rate(step: int) -> float:
        return learning_rate_at(step, schedule="cosine", peak=1.0, warmup_steps=10, total_steps=1000)

    assert rate(299) == 1.0 and rate(300) == 1.0 and rate(650) == pytest.approx(0.51) and rate(320) < 1
    assert rate(999) == pytest.approx(0.02, abs=1e-4)


def test_tri_stage_holds_to_half_of_the_run_and_ends_at_5_percent() -> None:
    def rate(step: int) -> float:
        return learning_rate_at(step, schedule="tri_stage", peak=1.0, warmup_steps=100, total_steps=1000)

    assert rate(100) == rate(500) == 1.0 and rate(750) == pytest.approx(0.05**0.5) and rate(600) < 1
    assert rate(999) == pytest.approx(0.05, rel=0.01)


def test_an_average_keeps_little_at_first_and_then_what_was_asked_for() -> None:
    decays = [average_decay_at(step, 0.999) for step in range(20_000)]
    assert decays[0] == 0.1 and decays[90] == 0.91 and decays[-1] == 0.999
    assert all(before <= after for before, after in pairwise(decays))


@pytest.mark.parametrize("schedule", ["linear", "cosine", "tri_stage"])
def test_weights_below_the_head_have_a_warm_up_of_their_own(schedule: str) -> None:
    settings = dict(schedule=schedule, peak=1.0, warmup_steps=10, total_steps=100)

    def rates(freeze_steps: int) -> list[LearningRates]:
        return [learning_rates_at(step, freeze_steps=freeze_steps, **settings) for step in range(100)]

    for freeze_steps in (4, 40, 95):
        found = rates(freeze_steps)
        assert [one.head for one in found] == [learning_rate_at(step, **settings) for step in range(100)]
        assert [one.below for one in found[:freeze_steps]] == [None] * freeze_steps
        below = [one.below or 0.0 for one in found[freeze_steps:]]
        assert below == [min(one.head, (step + 1) / 11) for step, one in enumerate(found[freeze_steps:])]
        assert below[10:] == [one.head for one in found[freeze_steps + 10 :]]
    assert all(one.below == one.head for one in rates(0))
