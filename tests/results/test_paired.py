"""Differences between two models, compared with exact enumeration and with resampling one by one."""

import itertools

import numpy as np
import pytest

from asrscale.results.intervals import NO_SPEAKER
from asrscale.results.paired import mean_and_scatter, paired_differences, permutation_p_value


def exact_p_value(differences: list[int]) -> float:
    """The share of all sign flips whose sum is at least as far from 0: the definition, without drawing any."""
    signs = itertools.product((1, -1), repeat=len(differences))
    sums = np.array([np.dot(one, differences) for one in signs])
    return float(np.mean(np.abs(sums) >= abs(sum(differences))))


@pytest.mark.parametrize(
    "differences",
    [
        [1],
        [2, 1],
        [3, -1, 2],
        [1] * 10,
        [5, -3, 2, 2, -1, 4],
        [1, 1, 1, -1, -1, 2, 3, 0, 0, 7],
        [-4, -2, -3, 1, -1, -6, 2],
    ],
)
def test_p_values_are_those_of_all_sign_flips(differences: list[int]) -> None:
    exact = exact_p_value(differences)
    scatter = 4 * np.sqrt(exact * (1 - exact) / 10_000) + 1e-4
    assert permutation_p_value(np.array(differences)) == pytest.approx(exact, abs=scatter)
    assert permutation_p_value(-np.array(differences)) == permutation_p_value(np.array(differences))


def test_models_that_err_alike_do_not_differ() -> None:
    assert permutation_p_value(np.zeros(50, np.int32)) == 1
    assert permutation_p_value(np.array([3, -3])) == 1
    assert permutation_p_value(np.array([], np.int32)) == 1


def amounts_of(edits: np.ndarray, words: np.ndarray) -> np.ndarray:
    return np.stack([edits, words, 2 * edits, 5 * words], axis=1).astype(np.int32)


def test_p_values_of_equal_models_are_evenly_spread_and_those_of_unequal_ones_small() -> None:
    rng = np.random.default_rng(0)
    words = np.full(200, 8)
    found = [permutation_p_value(rng.binomial(words, 0.2) - rng.binomial(words, 0.2)) for _ in range(200)]
    assert 0.01 < np.mean(np.array(found) < 0.05) < 0.1 and 0.4 < np.mean(found) < 0.6
    assert permutation_p_value(rng.binomial(words, 0.3) - rng.binomial(words, 0.2)) < 0.001


def test_intervals_of_differences_are_those_of_resampling_both_one_by_one() -> None:
    rng = np.random.default_rng(1)
    words = rng.integers(1, 12, 300)
    edits, other_edits = rng.binomial(words, 0.15), rng.binomial(words, 0.2)
    one, other = amounts_of(edits, words), amounts_of(other_edits, words)
    found = paired_differences(one, other, np.full(300, NO_SPEAKER))
    difference = (edits.sum() - other_edits.sum()) / words.sum()
    assert found["wer_difference"] == pytest.approx(difference) == found["wer"] - found["other_wer"]
    assert found["cer_difference"] == pytest.approx(difference * 2 / 5)
    assert (found["utterances"], found["resampled"]) == (300, "utterances")
    drawn = rng.integers(300, size=(4_000, 300))
    differences = (edits - other_edits)[drawn].sum(axis=1) / words[drawn].sum(axis=1)
    expected = np.percentile(differences, (2.5, 97.5)).tolist()
    assert [found["wer_difference_low"], found["wer_difference_high"]] == pytest.approx(expected, abs=0.004)
    assert found == paired_differences(one, other, np.full(300, NO_SPEAKER))


def test_a_difference_that_one_speaker_makes_is_not_sure_where_speakers_are_known() -> None:
    words = np.full(600, 10)
    edits = np.zeros(600, int)
    edits[:20] = 4  # all of the first speaker's utterances
    one, other = amounts_of(edits, words), amounts_of(np.zeros(600, int), words)
    unknown = paired_differences(one, other, np.full(600, NO_SPEAKER))
    known = paired_differences(one, other, np.arange(30).repeat(20))
    assert unknown["wer_p"] < 0.001 and known["wer_p"] == 1  # one flip of one speaker is as far as the other way round
    assert unknown["wer_difference_low"] > 0 and known["wer_difference_low"] == 0
    assert (unknown["resampled"], known["resampled"]) == ("utterances", "speakers")


def test_many_utterances_take_no_longer_than_their_different_counts() -> None:
    rng = np.random.default_rng(2)
    words = rng.integers(1, 15, 16_000)
    one, other = (amounts_of(rng.binomial(words, rate), words) for rate in (0.100, 0.106))
    found = paired_differences(one, other, rng.integers(0, 600, 16_000))
    assert found["resampled"] == "speakers" and found["wer_difference_high"] < 0 and found["wer_p"] < 0.05


def test_scatter_is_the_sample_standard_deviation() -> None:
    found = mean_and_scatter([0.1, 0.2, 0.3])
    assert found == pytest.approx({"mean": 0.2, "standard_deviation": 0.1, "lowest": 0.1, "highest": 0.3})
