"""Visits of an epoch by weights: how often, which ones, and in which steps."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from helpers.lengths import SEEDS, all_steps, all_units, common_voice_lengths, together
from hypothesis import given, settings
from hypothesis import strategies as st

from asrscale.data.copies import MIN_ROUND_STEPS, count_visits, cut_pieces, plan_visits
from asrscale.data.epoch_plan import plan_window
from asrscale.data.hashing import Ids

WEIGHTS = st.one_of(st.floats(1e-6, 4.0), st.sampled_from([0.3, 0.5, 1.0, 2.0, 2.5, 1 / 3, 1e-300, 7.25]))


def visits_of(weights: Sequence[float], *, epoch: int, seed: int = 1, utterances: int = 50, windows: int = 1) -> Ids:
    """How often an epoch visits each utterance, (S, utterances), where shards hold equally many."""
    pieces = cut_pieces(np.array(weights))
    total = np.zeros(len(weights) * utterances, np.int64)
    for window in range(windows):
        own = np.arange(window, len(pieces.shards), windows)
        shards = np.unique(pieces.shards[own])
        rows = (shards[:, None] * utterances + np.arange(utterances)).ravel()
        shard_ids = np.repeat(shards, utterances).astype(np.int32)
        total[rows] += count_visits(pieces, own, shard_ids, seed=seed, epoch=epoch, window=window)
    return total.reshape(len(weights), utterances)


def test_a_shard_is_cut_into_whole_pieces_and_what_is_left() -> None:
    pieces = cut_pieces(np.array([1.0, 2.5, 0.25, 2.0]))
    assert pieces.shards.tolist() == [0, 1, 1, 1, 2, 3, 3]
    assert pieces.shares.tolist() == [1.0, 1.0, 1.0, 0.5, 0.25, 1.0, 1.0]


@settings(max_examples=150, deadline=None)
@given(st.lists(WEIGHTS, min_size=1, max_size=5), SEEDS, st.integers(1, 3), st.integers(0, 10**6))
def test_an_epoch_visits_each_utterance_its_weight_rounded_up_or_down(
    weights: list[float], seed: int, windows: int, epoch: int
) -> None:
    visits = visits_of(weights, epoch=epoch, seed=seed, windows=windows)
    for weight, of_shard in zip(weights, visits, strict=True):
        assert set(of_shard.tolist()) <= {math.floor(weight), math.ceil(weight)}


@pytest.mark.parametrize("weight", [0.07, 0.3, 0.5, 1.0, 2.5, 2 / 3])
def test_several_epochs_visit_each_utterance_as_often_as_they_should(weight: float) -> None:
    """Independent draws would leave out one of 35 utterances of weight 0.3 in all of ten epochs."""
    of_epochs = np.array([visits_of([weight], epoch=epoch, utterances=500)[0] for epoch in range(40)])
    for first, last in ((0, 1), (0, 10), (7, 20), (0, 40)):
        totals = of_epochs[first:last].sum(axis=0)
        expected = (last - first) * weight
        assert set(totals.tolist()) <= {math.floor(expected), math.ceil(expected - 1e-9)}, (first, last)
    # An epoch visits about its share, within four standard deviations of a fair draw.
    share = weight % 1
    scatter = 4 * math.sqrt(share * (1 - share) * 500)
    assert all(abs(total - 500 * weight) <= scatter for total in of_epochs.sum(axis=1))


def test_other_epochs_and_seeds_visit_other_utterances() -> None:
    some = visits_of([0.3], epoch=0, utterances=1_000)[0]
    assert (some & visits_of([0.3], epoch=1, utterances=1_000)[0]).sum() == 0
    assert 50 < (some & visits_of([0.3], epoch=0, utterances=1_000, seed=2)[0]).sum() < 140  # 0.09 of them


def test_where_nothing_is_repeated_the_plan_is_that_of_a_window() -> None:
    lengths = common_voice_lengths(500)
    settings = dict(seed=3, epoch=2, window=1, steps=33, units_per_step=4)
    for visits in (np.ones(500, np.int64), np.repeat([0, 1], 500)):
        planned, expected = plan_visits(lengths, visits, **settings), plan_window(lengths, **settings)
        assert np.array_equal(planned.utterances, expected.utterances)
        assert np.array_equal(planned.unit_bounds, expected.unit_bounds)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), SEEDS, st.integers(1, 90), st.integers(1, 5))
def test_each_visit_is_in_one_unit(visits: list[int], seed: int, steps: int, units_per_step: int) -> None:
    lengths = np.repeat(common_voice_lengths(len(visits)), visits)
    planned = plan_visits(
        lengths, np.array(visits), seed=seed, epoch=1, window=0, steps=steps, units_per_step=units_per_step
    )
    assert planned.num_steps == steps and all(len(units) == units_per_step for units in all_steps(planned))
    assert np.array_equal(together(all_units(planned)), np.arange(sum(visits)))


def test_no_step_has_an_utterance_twice_where_there_are_steps_enough() -> None:
    counts = np.array([1] * 900 + [4] * 30 + [3] * 70)
    lengths = np.repeat(common_voice_lengths(1_000), counts)
    who = np.repeat(np.arange(1_000), counts)
    for steps, most in ((4 * MIN_ROUND_STEPS, 1), (2 * MIN_ROUND_STEPS, 2)):
        planned = plan_visits(lengths, counts, seed=1, epoch=0, window=0, steps=steps, units_per_step=4)
        steps_of = [Counter(who[together(units)].tolist()) for units in all_steps(planned)]
        assert max(max(step.values()) for step in steps_of) <= most
        # The repeats are spread over the epoch, and all steps are about equally long.
        audio = [lengths[together(units)].sum() for units in all_steps(planned)]
        assert max(audio) < 1.25 * np.mean(audio)
    # Planned at once, they are mostly in one unit.
    at_once = plan_window(lengths, seed=1, epoch=0, window=0, steps=40, units_per_step=4)
    assert max(max(Counter(who[together(units)].tolist()).values()) for units in all_steps(at_once)) > 2
