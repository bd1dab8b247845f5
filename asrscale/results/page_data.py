"""What the page of an evaluation shows beyond its rates: confusions, and the utterances that are listed.

It goes through the hypotheses twice, as streams: once to count, and once for the texts of what is listed.

Shapes: N utterances that have a hypothesis.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from asrscale.data.index import Index
from asrscale.results.beside import Beside, compare
from asrscale.results.confusions import Confusions
from asrscale.results.intervals import NO_SPEAKER
from asrscale.results.metrics import UNITS, Metric
from asrscale.results.tally import NOT_COUNTED, OWN, Compared
from asrscale.speech.pcm import SAMPLE_RATE_HZ

LISTED = 2_000  # utterances: a page with more takes a browser seconds

# The hypotheses of an evaluation, each after its number in the index, as often as they are asked for.
Hypotheses: TypeAlias = Callable[[], Iterable[tuple[int, str]]]


@dataclass(frozen=True)
class ListedUtterance:
    """An utterance of the table of a page."""

    number: int  # in the index
    compared: Compared


@dataclass(frozen=True, eq=False)
class PageData:
    """What a page shows of utterances.

    Attributes:
        numbers: (N,) of the utterances in the index.
        amounts: For each column (N, 4) in the order of `metrics.Amounts`, or NOT_COUNTED.
        seconds: (N,) their lengths.
        speakers: (N,) numbers of their speakers, or NO_SPEAKER.
        confusions: Of words and of characters.
        listed: Utterances of the table, those with the most errors first.
        worst: How many of these are the worst; the others are drawn from all others.
    """

    numbers: NDArray[np.int64]
    amounts: Mapping[str, NDArray[np.int32]]
    seconds: NDArray[np.float64]
    speakers: NDArray[np.int32]
    confusions: Mapping[Metric, Confusions]
    listed: list[ListedUtterance]
    worst: int

    def units_per_second(self, metric: Metric) -> NDArray[np.float64]:
        """Returns (N,) how many words, or characters, of the reference are spoken in a second."""
        size = self.amounts[OWN][:, 1 if metric == "wer" else 3]
        with np.errstate(divide="ignore", invalid="ignore"):
            per_second: NDArray[np.float64] = size / self.seconds
        return per_second


def gather(index: Index, hypotheses: Hypotheses, metric: Metric, beside: Beside) -> PageData:
    """Goes through the hypotheses of an evaluation, and those of the models that it is compared with.

    Args:
        index: The data set.
        hypotheses: Of some or all of its utterances, in the order of the index.
        metric: Which error rate decides: by its edits the worst utterances are chosen.
        beside: Other models.
    """
    models = Beside(compared=beside.compared)
    confusions: dict[Metric, Confusions] = {name: Confusions(name) for name in UNITS}
    numbers: list[NDArray[np.int64]] = []
    amounts: dict[str, list[NDArray[np.int32]]] = {column: [] for column in models.columns}
    for _, of_shard in groupby(hypotheses(), key=lambda pair: index.shard_ids[pair[0]]):
        pairs = list(of_shard)
        compared = list(compare(index, pairs, models))
        numbers.append(np.array([number for number, _ in pairs], np.int64))
        for column, counted in amounts.items():
            counted.append(_amounts(compared, column))
        for one in compared:
            if any(one.amounts[OWN].edits(name) for name in UNITS):
                for name in UNITS:
                    confusions[name].add(one.reference, one.hypotheses[OWN])
    all_numbers = np.concatenate([np.zeros(0, np.int64), *numbers])
    all_amounts = {column: np.concatenate([np.zeros((0, 4), np.int32), *few]) for column, few in amounts.items()}
    order, worst = choose(all_amounts[OWN][:, 0 if metric == "wer" else 2], LISTED)
    return PageData(
        numbers=all_numbers,
        amounts=all_amounts,
        seconds=index.num_samples[all_numbers] / SAMPLE_RATE_HZ,
        speakers=_speakers(index, all_numbers),
        confusions=confusions,
        listed=_listed(index, hypotheses, all_numbers[order], models),
        worst=worst,
    )


def choose(edits: NDArray[np.int32], number: int) -> tuple[NDArray[np.int64], int]:
    """Returns which of (N,) utterances are listed, the most edits first, and how many of these are the worst.

    All, where there are not more than `number`; else half of these are the worst, and half a random sample of the
    others, always the same.
    """
    order = np.argsort(-edits, kind="stable")
    if len(order) <= number:
        return order, len(order)
    worst = number // 2
    others = order[worst:]
    places = np.random.default_rng(0).choice(len(others), number - worst, replace=False)
    return np.concatenate([order[:worst], others[np.sort(places)]]), worst


def _amounts(compared: Iterable[Compared], column: str) -> NDArray[np.int32]:
    """Returns (…, 4) the amounts of utterances in a column."""
    nothing = (NOT_COUNTED,) * 4
    return np.array([one.amounts.get(column, nothing) for one in compared], np.int32).reshape(-1, 4)


def _speakers(index: Index, numbers: NDArray[np.int64]) -> NDArray[np.int32]:
    """Returns a number for the speaker of each utterance."""
    speakers = index.take(numbers).speakers.to_pylist()
    known: dict[str | None, int] = {None: NO_SPEAKER}
    return np.array([known.setdefault(speaker, len(known)) for speaker in speakers], np.int32)


def _listed(index: Index, hypotheses: Hypotheses, numbers: NDArray[np.int64], models: Beside) -> list[ListedUtterance]:
    """Returns utterances in the order of their numbers in an array."""
    wanted = {number: place for place, number in enumerate(numbers.tolist())}
    pairs = [pair for pair in hypotheses() if pair[0] in wanted]
    compared = zip(pairs, compare(index, pairs, models), strict=True)
    listed = [ListedUtterance(number, one) for (number, _), one in compared]
    return sorted(listed, key=lambda one: wanted[one.number])
