from itertools import pairwise

import pytest

from asrscale.training.schedule import average_decay_at, learning_rate_at


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
