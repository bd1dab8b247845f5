"""Cuts of sorted utterances into units of like time."""

import math

import numpy as np
from helpers.lengths import as_lengths
from hypothesis import given, settings
from hypothesis import strategies as st

from asrscale.data.even_cuts import ceil_divide, count_units, cut_evenly, relative_time

TIMES = st.lists(st.integers(1, 40), max_size=12).map(sorted)


def cheapest_cut(times: list[int], units: int) -> int:
    """The most expensive unit of the best of all cuts of ascending times into so many units, by dynamic programming."""
    best = {0: 0}  # of all cuts of the first n times into `used` units, the most expensive unit where it is cheapest
    for used in range(1, units + 1):
        longer = {}
        for end in range(used, len(times) + 1):
            starts = [start for start in best if start < end]
            longer[end] = min(max(best[start], (end - start) * times[end - 1]) for start in starts)
        best = longer
    return best[len(times)]


@settings(max_examples=200, deadline=None)
@given(TIMES, st.integers(1, 8))
def test_the_most_expensive_unit_is_as_cheap_as_any_cut_allows(times: list[int], count: int) -> None:
    ends = cut_evenly(as_lengths(times), count).tolist()
    costs = [(end - start) * times[end - 1] for start, end in zip([0, *ends], ends, strict=False) if end > start]
    assert ends == sorted(ends) and len(ends) == count and len(costs) == min(count, len(times))
    assert max(costs, default=0) == cheapest_cut(times, len(costs))


def test_the_units_that_stay_empty_are_the_first() -> None:
    assert cut_evenly(as_lengths([5, 6]), 4).tolist() == [0, 0, 1, 2]
    assert cut_evenly(as_lengths([]), 3).tolist() == [0, 0, 0]


def test_part_is_cut_with_a_smaller_cap_where_one_cap_gives_too_few() -> None:
    # Of 7 equal utterances, a cap of 2 makes four units and a cap of 1 makes seven: five and six need both.
    times = as_lengths([1] * 7)
    assert [len(np.unique(cut_evenly(times, count))) for count in range(1, 8)] == list(range(1, 8))


@settings(max_examples=200, deadline=None)
@given(TIMES, st.integers(1, 200))
def test_units_are_counted_as_if_they_were_filled_one_by_one(times: list[int], cap: int) -> None:
    end, units = len(times), 0
    while end > 0:
        end -= max(1, cap // times[end - 1])
        units += 1
    assert count_units(as_lengths(times), cap, len(times)) == units


def test_attention_makes_long_utterances_more_expensive() -> None:
    seconds = np.array([1, 10, 30, 120])
    times = relative_time(seconds * 16_000)
    assert times.tolist() == [int(16_000 * s * (1 + s / 120)) for s in seconds.tolist()]


def test_division_is_rounded_up() -> None:
    assert [ceil_divide(amount, 4) for amount in range(9)] == [math.ceil(amount / 4) for amount in range(9)]
    assert ceil_divide(np.array([0, 1, 8, 9]), np.array([4, 4, 4, 2])).tolist() == [0, 1, 2, 5]
