"""The result of an evaluation for each of the data sets that were evaluated together."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

import numpy as np

from asrscale.data.index import Index
from asrscale.results.comparison import comparable
from asrscale.results.evaluation import Evaluation
from asrscale.results.metrics import UNITS, ErrorCounts, count_errors
from asrscale.results.predictions import Row
from asrscale.speech.pcm import SAMPLE_RATE_HZ

CHUNK = 4096  # utterances whose texts are in memory: 2 MB


def rows_by_data_set(index: Index, result: Evaluation) -> dict[str, Row]:
    """Returns what was found in each data set of several that has utterances, by their names; {} of a single one.

    For rank 0, which has the hypotheses.
    """
    if len(index.data_sets) == 1:
        return {}
    errors: dict[str, ErrorCounts] = defaultdict(ErrorCounts)
    hypotheses = result.hypotheses()
    for name, pairs in _chunks_by_data_set(index, hypotheses):
        errors[name] += count_errors(*comparable(index, pairs))
    names = np.array([index.data_set(utterance) for utterance in range(len(index))])
    damaged = names[[one.utterance for one in result.damaged]]
    rows = {}
    for name in index.data_sets:
        own = names == name
        if own.any():
            hours = float(index.num_samples[own].sum()) / SAMPLE_RATE_HZ / 3600
            rows[name] = Row(errors[name], hours, int((damaged == name).sum()))
    return rows


def rates_by_data_set(rows: Mapping[str, Row], prefix: str) -> dict[str, float]:
    """Returns the error rates of data sets under the names that they are logged by, such as valid/wer/NAME."""
    return {f"{prefix}/{metric}/{name}": row.errors.rate(metric) for name, row in rows.items() for metric in UNITS}


def _chunks_by_data_set(
    index: Index, hypotheses: Iterable[tuple[int, str]]
) -> Iterator[tuple[str, list[tuple[int, str]]]]:
    """Yields some hypotheses of one data set after others, with its name."""
    left = iter(hypotheses)
    while chunk := list(islice(left, CHUNK)):
        by_name: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for pair in chunk:
            by_name[index.data_set(pair[0])].append(pair)
        yield from by_name.items()
