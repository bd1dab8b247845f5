"""Error rates over lengths."""

import numpy as np
import pytest

from asrscale.results.intervals import NO_SPEAKER, rates_by_speaker
from asrscale.results.rate_curves import LEAST_UTTERANCES, MOST_POINTS, rate_curve


def amounts_of(edits: list[int], words: int = 10) -> np.ndarray:
    return np.array([[edit, words, edit, 5 * words] for edit in edits], np.int32)


def nobody(number: int) -> np.ndarray:
    return np.full(number, NO_SPEAKER, np.int32)


def test_each_group_has_the_rate_and_the_interval_of_its_utterances() -> None:
    rng = np.random.default_rng(0)
    seconds = rng.uniform(1, 10, 1_000)
    amounts = amounts_of(rng.binomial(10, seconds / 20).tolist())
    points = rate_curve(seconds, amounts, nobody(1_000), "wer")
    assert len(points) == MOST_POINTS and sum(point.utterances for point in points) == 1_000
    assert {point.utterances for point in points} == {100}
    for point, of_group in zip(points, np.array_split(np.argsort(seconds), MOST_POINTS), strict=True):
        expected = rates_by_speaker(amounts[of_group], nobody(100))
        assert point.rate == amounts[of_group, 0].sum() / 1_000
        assert (point.low, point.high) == (expected["wer_low"], expected["wer_high"])
        assert point.x == pytest.approx(np.median(seconds[of_group]))
        assert point.low <= point.rate <= point.high
    assert points[-1].rate > 3 * points[0].rate
    assert rate_curve(seconds, amounts, nobody(1_000), "cer")[0].rate == pytest.approx(points[0].rate / 5)


def test_few_utterances_are_few_points_and_none_is_lost() -> None:
    for number in (1, 2, LEAST_UTTERANCES - 1, 2 * LEAST_UTTERANCES, 70):
        points = rate_curve(np.arange(number) + 1.0, amounts_of([1] * number), nobody(number), "wer")
        assert len(points) == max(1, number // LEAST_UTTERANCES)
        assert sum(point.utterances for point in points) == number
    assert rate_curve(np.zeros(0), amounts_of([]).reshape(0, 4), nobody(0), "wer") == []


def test_equal_values_are_one_point_and_what_is_no_number_is_left_out() -> None:
    values = np.array([3.0] * 100 + [np.inf, np.nan])
    [point] = rate_curve(values, amounts_of([2] * 102), nobody(102), "wer")
    assert point.utterances == 100 and point.x == 3 and point.rate == 0.2
