"""The errors of every utterance, in columns."""

import numpy as np

from asrscale.data.source_columns import UNKNOWN
from asrscale.results.grouping import GROUPINGS
from asrscale.results.intervals import NO_SPEAKER
from asrscale.results.metrics import Amounts
from asrscale.results.tally import OWN, Compared, Tally, new_tally

OTHER = "other.jsonl"


def compared(key: str, own: int, other: int | None) -> Compared:
    """An utterance of three words of four letters, with so many word edits of a model's own and of another."""
    edits = {OWN: own} if other is None else {OWN: own, OTHER: other}
    amounts = {column: Amounts(count, 3, 4 * count, 14) for column, count in edits.items()}
    return Compared(key, "some more text", dict.fromkeys(edits, ""), amounts)


def tally_of_four() -> Tally:
    """Two calls to `add`, of two speakers and one who is not known; the third utterance is not in the other file."""
    tally = new_tally(9, [OWN, OTHER])
    values = {name: [UNKNOWN, UNKNOWN] for name in GROUPINGS}
    tally.add([compared("a", 1, 0), compared("b", 0, 2)], values | {"speaker": ["ann", "bob"]})
    tally.add([compared("c", 3, None), compared("d", 2, 2)], values | {"speaker": [UNKNOWN, "ann"]})
    return tally


def test_an_utterance_changes_by_the_edits_that_the_model_has_more() -> None:
    assert compared("a", 3, 1).change(OTHER, "wer") == 2
    assert compared("a", 1, 3).change(OTHER, "cer") == -8
    assert compared("a", 1, None).change(OTHER, "wer") == 0


def test_utterances_are_counted_in_the_columns_that_have_them() -> None:
    tally = tally_of_four()
    assert tally.count == 4
    assert tally.has(OWN).tolist() == [True] * 4
    assert tally.has(OWN, OTHER).tolist() == [True, True, False, True]
    assert tally.take(OTHER, tally.has(OTHER)).tolist() == [[0, 3, 0, 14], [2, 3, 8, 14], [2, 3, 8, 14]]
    assert tally.take(OWN, np.array([False, False, True, False])).tolist() == [[3, 3, 12, 14]]


def test_groups_keep_their_numbers_and_an_unknown_speaker_has_none() -> None:
    tally = tally_of_four()
    ann, bob, unknown, again = tally.speakers(tally.has(OWN)).tolist()
    assert ann == again != bob and unknown == NO_SPEAKER


def test_only_groupings_of_several_groups_are_described_and_no_empty_group() -> None:
    tally = tally_of_four()
    described = tally.by_group(tally.has(OWN), lambda rows: {"utterances": int(rows.sum())})
    assert described == {"speaker": {"ann": {"utterances": 2}, "bob": {"utterances": 1}, UNKNOWN: {"utterances": 1}}}
    of_both = tally.by_group(tally.has(OTHER), lambda rows: {"utterances": int(rows.sum())})
    assert of_both == {"speaker": {"ann": {"utterances": 2}, "bob": {"utterances": 1}}}
