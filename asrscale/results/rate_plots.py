"""Plots of error rates over the length of utterances and the rate of speech."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asrscale.common.html import Block, counted
from asrscale.common.html_chart import Band, chart
from asrscale.results.metrics import UNITS, Metric
from asrscale.results.page_data import PageData
from asrscale.results.rate_curves import rate_curve
from asrscale.results.tally import NOT_COUNTED


def rate_plots(data: PageData, columns: Sequence[str], metric: Metric, names: Sequence[str] = ()) -> Iterator[Block]:
    """Yields the plots of the utterances that are counted in all of some columns.

    Args:
        data: Of the page.
        columns: A line each.
        metric: Whose rate it is.
        names: Of the lines; by default the metric.
    """
    unit = f"{UNITS[metric]}s"
    by = {
        "length": (data.seconds, "length of the utterance in seconds"),
        "rate of speech": (data.units_per_second(metric), f"{unit} a second, pauses included"),
    }
    lines = dict(zip(names or [metric.upper()], columns, strict=True))
    for what, (values, x_label) in by.items():
        yield _plot(data, lines, metric, f"{metric.upper()} by {what}", values, x_label)


def _plot(
    data: PageData,
    lines: dict[str, str],
    metric: Metric,
    caption: str,
    values: NDArray[np.floating[Any]],
    x_label: str,
) -> Block:
    """Returns a plot of a line with its interval for each column, over some values of the utterances."""
    in_all = np.all([data.amounts[column][:, 0] != NOT_COUNTED for column in lines.values()], axis=0)
    curves = {
        name: rate_curve(values[in_all], data.amounts[column][in_all], data.speakers[in_all], metric)
        for name, column in lines.items()
    }
    sizes = [point.utterances for points in curves.values() for point in points]
    least, most = min(sizes, default=0), max(sizes, default=0)
    each = counted(most, "utterance") if least == most else f"{least:,} to {counted(most, 'utterance')}"
    return chart(
        caption,
        {name: [(point.x, 100 * point.rate) for point in points] for name, points in curves.items()},
        x_label=x_label,
        y_label=f"{metric.upper()} in %",
        bands={
            name: [Band(point.x, 100 * point.low, 100 * point.high) for point in points]
            for name, points in curves.items()
        },
        from_zero=False,
        note=f"Each point stands for {each} of about the same value; shaded: its 95 % interval.",
    )
