"""What an evaluation says beyond two numbers: how sure they are, for whom they hold, and where the errors are.

It reads the hypotheses as a stream, shard after shard, so that no more than one shard's texts are in memory.
Shapes: N utterances of the index.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asrscale.data.index import Index
from asrscale.data.source_columns import UNKNOWN
from asrscale.results.comparison import comparable
from asrscale.results.grouping import GROUPINGS, group_values
from asrscale.results.intervals import NO_SPEAKER, rates_by_speaker
from asrscale.results.metrics import Amounts, Metric, aligned_differences, count_errors
from asrscale.speech.normalisation import TextRules, steps_of

WORST = 50  # utterances with the most errors that are listed


@dataclass(frozen=True)
class _Compared:
    """An utterance whose reference and hypothesis were compared."""

    key: str
    reference: str  # normalised, as the hypothesis
    hypothesis: str
    amounts: Amounts


@dataclass(eq=False)
class _Tally:
    """What is kept of every utterance, 44 bytes: four amounts and its group in each of seven groupings.

    The arrays are as long as the index, and are filled from the front; `count` utterances are in.
    """

    amounts: NDArray[np.int32]  # (N, 4) in the order of `Amounts`
    members: dict[str, NDArray[np.int32]]  # for each grouping (N,) the number of the utterance's group
    groups: dict[str, dict[str, int]]  # for each grouping the numbers of its groups
    count: int = 0


def break_down(index: Index, hypotheses: Iterable[tuple[int, str]], metric: Metric) -> dict[str, Any]:
    """Returns rates and intervals of all utterances and of groups of them, and the utterances with the most errors.

    Args:
        index: The data set.
        hypotheses: Of some or all of its utterances, each after its number in the index; in the order of the index.
        metric: Which error rate decides: by its edits the worst utterances are chosen.

    Returns:
        `metric`; what `rates_by_speaker` returns of all; `language` and `normaliser`, the steps that hypotheses went
        through as transcripts did, or those of each language, joined;
        `by`, the rates of each group in each of `GROUPINGS` that has several; and the `worst` utterances.
    """
    tally = _new_tally(len(index))
    worst: list[_Compared] = []
    for held, references, texts in _by_shard(index, hypotheses):
        compared = _compare(held, references, texts)
        _add(tally, compared, group_values(held))
        worst = _worst_of([*worst, *compared], metric)
    amounts = tally.amounts[: tally.count]
    speakers = tally.members["speaker"][: tally.count]
    return {
        "metric": metric,
        **rates_by_speaker(amounts, speakers),
        **_normalisation(index.text_rules),
        "by": _rates_of_groups(tally),
        "worst": [_describe(one, metric) for one in worst],
    }


def _new_tally(size: int) -> _Tally:
    groups: dict[str, dict[str, int]] = {name: {} for name in GROUPINGS}
    groups["speaker"][UNKNOWN] = NO_SPEAKER
    return _Tally(
        amounts=np.zeros((size, len(Amounts._fields)), np.int32),
        members={name: np.zeros(size, np.int32) for name in GROUPINGS},
        groups=groups,
    )


def _normalisation(text_rules: Iterable[TextRules]) -> dict[str, Any]:
    """Returns the languages of transcripts, "" for any, and the steps of their normalisation; each named once."""
    different = dict.fromkeys(text_rules)
    steps = dict.fromkeys(step for rules in different for step in steps_of(rules))
    return {"language": ", ".join(dict.fromkeys(rules.language for rules in different)), "normaliser": list(steps)}


def _by_shard(
    index: Index, hypotheses: Iterable[tuple[int, str]]
) -> Iterator[tuple[Index, Sequence[str], Sequence[str]]]:
    """Yields for each shard the utterances that have a hypothesis, their references, and the hypotheses."""
    for _, of_shard in groupby(hypotheses, key=lambda pair: index.shard_ids[pair[0]]):
        pairs = list(of_shard)
        references, texts = comparable(index, pairs)
        yield index.take(np.array([utterance for utterance, _ in pairs])), references, texts


def _compare(utterances: Index, references: Sequence[str], hypotheses: Sequence[str]) -> list[_Compared]:
    """Counts the errors of each utterance."""
    keys = utterances.keys.to_pylist()
    return [
        _Compared(key, reference, hypothesis, count_errors([reference], [hypothesis]).amounts)
        for key, reference, hypothesis in zip(keys, references, hypotheses, strict=True)
    ]


def _add(tally: _Tally, compared: Sequence[_Compared], values: Mapping[str, Sequence[str]]) -> None:
    """Adds utterances to a tally; `values` are their groups in each grouping, of which new ones get the next number."""
    rows = slice(tally.count, tally.count + len(compared))
    tally.amounts[rows] = [one.amounts for one in compared]
    for name, groups in tally.groups.items():
        tally.members[name][rows] = [groups.setdefault(value, len(groups)) for value in values[name]]
    tally.count += len(compared)


def _worst_of(compared: Iterable[_Compared], metric: Metric) -> list[_Compared]:
    """Returns the utterances with the most edits, the worst first; of equal ones the first."""
    return sorted(compared, key=lambda one: -one.amounts.edits(metric))[:WORST]


def _rates_of_groups(tally: _Tally) -> dict[str, dict[str, Any]]:
    """Returns the rates of each group, for each grouping whose utterances are not all in one group."""
    amounts = tally.amounts[: tally.count]
    speakers = tally.members["speaker"][: tally.count]
    rates: dict[str, dict[str, Any]] = {}
    for name, groups in tally.groups.items():
        members = tally.members[name][: tally.count]
        if members.min() == members.max():
            continue
        rates[name] = {}
        for value, number in sorted(groups.items()):
            rows = members == number
            if rows.any():  # the unknown speaker may have none
                rates[name][value] = rates_by_speaker(amounts[rows], speakers[rows])
    return rates


def _describe(one: _Compared, metric: Metric) -> dict[str, Any]:
    """Returns an utterance as an entry of the list of the worst."""
    return {
        "key": one.key,
        "word_edits": one.amounts.word_edits,
        "character_edits": one.amounts.character_edits,
        "aligned": aligned_differences(one.reference, one.hypothesis, metric),
    }
