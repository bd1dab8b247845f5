"""Whether confidences are what they say, on the page of an evaluation."""

from typing import Any

from asrscale.common import html
from asrscale.common.html import Block, Point
from asrscale.common.html_chart import chart
from asrscale.results.calibration import format_confidence


def reliability_blocks(found: dict[str, Any]) -> list[Block]:
    """Returns a plot and a table of how many words with which confidence are right; nothing without words."""
    confidence = found.get("confidence")
    if not confidence or not confidence["words"]:
        return []
    lines: dict[str, list[Point]] = {
        "if they are what they say": [(0.0, 0.0), (100.0, 100.0)],
        "words of this model": [(100 * mean, 100 * right) for mean, right, _ in confidence["reliability"]],
    }
    if confidence["temperature"] != 1:
        of_model = [(100 * mean, 100 * right) for mean, right, _ in confidence["reliability_uncalibrated"]]
        lines["without calibration"] = of_model
    plot = chart(
        "How many words are right, by their confidence",
        lines,
        x_label="confidence of words, %",
        y_label="of these are right, %",
        note=format_confidence(confidence),
    )
    header = ["confidence %", "right %", "words"]
    rows = [
        (f"{100 * mean:.1f}", f"{100 * right:.1f}", f"{count:,}") for mean, right, count in confidence["reliability"]
    ]
    return [plot, html.table("The same as a table", header, rows)]
