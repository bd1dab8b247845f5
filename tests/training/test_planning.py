"""What the planner finds; its command is tried in tests/test_plan.py."""

from helpers.planned import choice

from asrscale.training.planning import _first_that_fits


def test_of_several_gpus_the_plan_is_for_the_first_that_suffices() -> None:
    small, large = choice(cap_seconds=0), choice()
    assert _first_that_fits([small, large]) is large
    assert _first_that_fits([small, small]) is small
