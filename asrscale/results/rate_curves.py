"""Error rates over the length of utterances and the rate of speech, with intervals.

Shapes: N utterances.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asrscale.results.intervals import rates_by_speaker
from asrscale.results.metrics import Metric

MOST_POINTS = 10
LEAST_UTTERANCES = 20  # of a point: an interval of fewer says nothing


class RatePoint(NamedTuple):
    """The error rate of utterances of about the same property, such as their length.

    Attributes:
        x: The median of the property.
        rate: The error rate, as a fraction, and the ends of its 95 % interval.
        low: The lower end.
        high: The upper end.
        utterances: How many they are.
    """

    x: float
    rate: float
    low: float
    high: float
    utterances: int


def rate_curve(
    values: NDArray[np.floating[Any]], amounts: NDArray[np.int32], speakers: NDArray[np.int32], metric: Metric
) -> list[RatePoint]:
    """Returns the error rate over a property of utterances, in groups of about equally many of these.

    Utterances of equal values are in one group. Fewer than twice `LEAST_UTTERANCES` are one group.

    Args:
        values: (N,) the property; utterances where it is not finite are left out.
        amounts: (N, 4) in the order of `metrics.Amounts`.
        speakers: (N,) numbers of the speakers, as `rates_by_speaker` takes them.
        metric: Which rate.
    """
    finite = np.isfinite(values)
    values, amounts, speakers = values[finite], amounts[finite], speakers[finite]
    if not len(values):
        return []
    number = min(MOST_POINTS, max(1, len(values) // LEAST_UTTERANCES))
    edges = np.unique(np.quantile(values, np.linspace(0, 1, number + 1)[1:-1]))
    groups = np.digitize(values, edges)
    points = []
    for group in np.unique(groups):
        of_group = groups == group
        rates = rates_by_speaker(amounts[of_group], speakers[of_group])
        ends = rates[metric], rates[f"{metric}_low"], rates[f"{metric}_high"]
        points.append(RatePoint(float(np.median(values[of_group])), *ends, int(of_group.sum())))
    return points
