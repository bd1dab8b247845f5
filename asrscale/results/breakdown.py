"""What an evaluation says beyond two numbers: how sure they are, for whom they hold, and where the errors are.

It reads the hypotheses as a stream, shard after shard, so that no more than one shard's texts are in memory.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any

import numpy as np

from asrscale.data.index import Index
from asrscale.results.beside import (
    NOTHING,
    Beside,
    compare,
    describe_change,
    differences,
    english_rates,
    rates_of,
    seed_summary,
)
from asrscale.results.english import describe_english
from asrscale.results.grouping import group_values
from asrscale.results.metrics import Metric, aligned_differences
from asrscale.results.tally import OWN, Compared, Tally, new_tally
from asrscale.speech.normalisation import TextRules, steps_of

LISTED = 50  # utterances with the most errors, and with the most changed ones


def break_down(
    index: Index, hypotheses: Iterable[tuple[int, str]], metric: Metric, beside: Beside = NOTHING
) -> dict[str, Any]:
    """Returns rates and intervals of all utterances and of groups of them, and the utterances with the most errors.

    Args:
        index: The data set.
        hypotheses: Of some or all of its utterances, each after its number in the index; in the order of the index.
        metric: Which error rate decides: by its edits the worst utterances are chosen.
        beside: What else is counted.

    Returns:
        `metric`; what `rates_by_speaker` returns of all; `language` and `normaliser`, the steps that hypotheses went
        through as transcripts did, or those of each language, joined;
        `by`, the rates of each group in each of `GROUPINGS` that has several; and the `worst` utterances. Where they
        are asked for: `english`, the rates after another normaliser; `compared`, a list of how the model differs from
        each other one; and `seeds`, mean and scatter over the runs of several seeds.
    """
    tally = new_tally(len(index), beside.columns)
    worst: list[Compared] = []
    changed: dict[str, list[Compared]] = {other.name: [] for other in beside.compared}
    for held, pairs in _by_shard(index, hypotheses):
        compared = list(compare(index, pairs, beside))
        tally.add(compared, group_values(held))
        worst = _largest([*worst, *compared], lambda one: one.amounts[OWN].edits(metric))
        for other in changed:
            changed[other] = _most_changed([*changed[other], *compared], other, metric)
    rows = tally.has(OWN)
    return {
        "metric": metric,
        **rates_of(tally, OWN, rows),
        **_normalisation(index.text_rules),
        "by": tally.by_group(rows, lambda of_group: rates_of(tally, OWN, of_group)),
        "worst": [_describe(one, metric) for one in worst],
        **_beside(tally, beside, changed, metric),
    }


def _by_shard(index: Index, hypotheses: Iterable[tuple[int, str]]) -> Iterator[tuple[Index, list[tuple[int, str]]]]:
    """Yields for each shard the utterances that have a hypothesis, and the numbers and hypotheses of these."""
    for _, of_shard in groupby(hypotheses, key=lambda pair: index.shard_ids[pair[0]]):
        pairs = list(of_shard)
        yield index.take(np.array([utterance for utterance, _ in pairs])), pairs


def _largest(compared: Iterable[Compared], size: Callable[[Compared], int]) -> list[Compared]:
    """Returns the utterances of the largest sizes, the largest first; of equal ones the first."""
    return sorted(compared, key=lambda one: -size(one))[:LISTED]


def _most_changed(compared: Iterable[Compared], other: str, metric: Metric) -> list[Compared]:
    """Returns the utterances whose edits differ most from those of another model."""
    different = [one for one in compared if one.change(other, metric)]
    return _largest(different, lambda one: abs(one.change(other, metric)))


def _normalisation(text_rules: Iterable[TextRules]) -> dict[str, Any]:
    """Returns the languages of transcripts, "" for any, and the steps of their normalisation; each named once."""
    different = dict.fromkeys(text_rules)
    steps = dict.fromkeys(step for rules in different for step in steps_of(rules))
    return {"language": ", ".join(dict.fromkeys(rules.language for rules in different)), "normaliser": list(steps)}


def _describe(one: Compared, metric: Metric) -> dict[str, Any]:
    """Returns an utterance as an entry of the list of the worst."""
    amounts = one.amounts[OWN]
    return {
        "key": one.key,
        "word_edits": amounts.word_edits,
        "character_edits": amounts.character_edits,
        "aligned": aligned_differences(one.reference, one.hypotheses[OWN], metric),
    }


def _beside(tally: Tally, beside: Beside, changed: dict[str, list[Compared]], metric: Metric) -> dict[str, Any]:
    """Returns what was counted beside the model's own errors; `changed` are the most changed utterances by model."""
    found: dict[str, Any] = {}
    if beside.english is not None:
        found["english"] = {"normaliser": describe_english(), **english_rates(tally)}
    if changed:
        found["compared"] = [
            differences(tally, other) | {"changed": [describe_change(one, other, metric) for one in most]}
            for other, most in changed.items()
        ]
    if beside.seeds:
        found["seeds"] = seed_summary(tally, [other.name for other in beside.seeds])
    return found
