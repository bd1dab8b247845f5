"""A few of the hostile inputs of tests/fuzz_hostile.py; two thousand of them under `slow`."""

from pathlib import Path

import pytest
from fuzz_hostile import KINDS, fuzz_all


@pytest.mark.parametrize("count", [40, pytest.param(2_000, marks=pytest.mark.slow)])
def test_a_hostile_input_costs_no_more_than_its_bound(tmp_path: Path, count: int) -> None:
    tally = fuzz_all(tmp_path, count, seed=count)
    assert not tally.faults, "\n".join(tally.faults)
    assert tally.inputs >= 0.9 * count and len(tally.outcomes) == len(KINDS)
    outcomes = sum(tally.outcomes.values(), start=type(tally.outcomes["tars"])())
    assert {"built", "rejected", "refused", "transcribed"} <= outcomes.keys()
