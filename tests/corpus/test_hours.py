"""Samples of a corpus of a given number of hours."""

import numpy as np

from asrscale.corpus.hours import choose_hours


def lengths_like_speech(count: int) -> np.ndarray:
    return np.random.default_rng(1).gamma(4.0, 1.2, count) + 0.5


def test_a_subset_has_the_hours_and_the_lengths_of_all() -> None:
    seconds = lengths_like_speech(20_000)
    for hours in (0.2, 1.0, 5.0):
        chosen = choose_hours(seconds, hours, seed=42)
        total = seconds[chosen].sum() / 3600
        assert hours - seconds.max() / 3600 < total <= hours
        # the largest distance of the two distributions of length; 1.36 / sqrt(n) is what 5 % of random draws exceed
        grid = np.linspace(0, 20, 200)
        all_below, chosen_below = (np.searchsorted(np.sort(s), grid) / len(s) for s in (seconds, seconds[chosen]))
        assert np.abs(all_below - chosen_below).max() < 0.4 / chosen.sum() ** 0.5


def test_a_subset_is_reproducible_grows_and_depends_on_the_seed() -> None:
    seconds = lengths_like_speech(3_000)
    chosen = choose_hours(seconds, 1.0, seed=42)
    assert np.array_equal(chosen, choose_hours(seconds, 1.0, seed=42))
    assert (choose_hours(seconds, 2.0, seed=42) >= chosen).all()
    assert not np.array_equal(chosen, choose_hours(seconds, 1.0, seed=43))
    assert choose_hours(seconds, 1e6, seed=42).all()
    assert len(choose_hours(seconds[:0], 1.0, seed=42)) == 0
    assert choose_hours(seconds[:1], 1.0, seed=42).all()
