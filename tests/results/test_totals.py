from itertools import accumulate
from operator import add

import pytest

from asrscale.results.metrics import ErrorCounts
from asrscale.results.totals import Totals

PARTS = [
    Totals(ErrorCounts(utterances=2, word_hits=3, character_deletions=7), loss=1.5, losses=2),
    Totals(),
    Totals(ErrorCounts(utterances=1, word_hits=1, word_insertions=4), loss=0.25, losses=1),
]


def test_totals_add_up_number_by_number() -> None:
    *_, whole = accumulate(PARTS, add)
    assert whole == Totals(
        ErrorCounts(utterances=3, word_hits=4, word_insertions=4, character_deletions=7), loss=1.75, losses=3
    )
    vectors = zip(*(part.to_vector() for part in PARTS), strict=True)
    assert Totals.from_vector([sum(column) for column in vectors]) == whole


@pytest.mark.parametrize("totals", PARTS)
def test_a_vector_of_floats_holds_all_of_it(totals: Totals) -> None:
    again = Totals.from_vector([float(value) for value in totals.to_vector()])
    assert again == totals and isinstance(again.losses, int) and isinstance(again.errors.word_hits, int)


def test_the_mean_loss_is_of_the_utterances_that_have_one() -> None:
    assert PARTS[0].mean_loss == 0.75
    assert Totals(ErrorCounts(utterances=5)).mean_loss is None
