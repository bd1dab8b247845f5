from collections import Counter
from random import Random

import numpy as np
import pytest
from helpers.kneser_ney import BruteForce

from asrscale.ngrams.kneser_ney import FALLBACK_DISCOUNTS, Discounts, discounts_of


@pytest.mark.parametrize("seed", range(20))
def test_discounts_are_those_of_the_formula(seed: int) -> None:
    random = Random(seed)
    counts = {(f"{number}",): min(9, int(random.paretovariate(1.1))) for number in range(2_000)}
    of_counts = Counter(counts.values())
    found = discounts_of(np.array([of_counts[count] for count in range(5)]))
    expected = BruteForce._discounts(counts)
    assert found.of(np.arange(4)) == pytest.approx(expected)
    assert not found.is_fallback


def test_of_a_geometric_fall_discounts_are_known() -> None:
    # n_r = 64 / 2^r: y = 32 / (32 + 2 * 16) = 1/2, and D_r = r - (r + 1) y n_(r+1) / n_r = r - (r + 1) / 4
    found = discounts_of(np.array([0, 32, 16, 8, 4]))
    assert found == Discounts((0.5, 1.25, 2.0), is_fallback=False)


@pytest.mark.parametrize(
    "counts",
    [[0, 0, 5, 5, 5], [0, 5, 0, 5, 5], [0, 5, 5, 0, 5], [0, 1, 1, 100, 1], [0, 10, 1, 100, 1]],
)
def test_where_nothing_can_be_estimated_there_are_the_usual_ones(counts: list[int]) -> None:
    found = discounts_of(np.array(counts))
    assert found == Discounts(FALLBACK_DISCOUNTS, is_fallback=True)
    assert found.of(np.array([0, 1, 2, 3, 9])).tolist() == [0, 0.5, 1, 1.5, 1.5]
