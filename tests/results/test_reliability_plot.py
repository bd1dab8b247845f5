import numpy as np
import pytest

from asrscale.results.calibration import Reliability, summarise
from asrscale.results.reliability_plot import reliability_blocks

NAMES = ["if they are what they say", "words of this model", "without calibration"]


def found(temperature: float) -> dict[str, object]:
    """Three words of 0.25, one of them right; six of 0.75, all right; without calibration all are nearly sure."""
    right = np.array([True, False, False] + [True] * 6)
    calibrated, uncalibrated = Reliability(), Reliability()
    calibrated.add([0.25] * 3 + [0.75] * 6, right)
    uncalibrated.add([0.95] * 9, right)
    return {"confidence": summarise(calibrated, uncalibrated, temperature)}


@pytest.mark.parametrize(("temperature", "lines"), [(1.0, NAMES[:2]), (1.5, NAMES)])
def test_words_are_points_by_confidence_and_share_of_right_ones(temperature: float, lines: list[str]) -> None:
    plot, table = reliability_blocks(found(temperature))
    assert [line["name"] for line in plot["lines"]] == lines
    values = [(name, x, y) for name, x, y, _ in plot["values"]]
    assert (NAMES[1], "25", "33.33") in values and (NAMES[1], "75", "100") in values
    assert ((NAMES[2], "95", "77.78") in values) == (temperature != 1)
    assert table["rows"] == [["25.0", "33.3", "3"], ["75.0", "100.0", "6"]]
    assert ("not calibrated" in plot["note"]) == (temperature == 1)


def test_without_words_there_is_nothing_to_show() -> None:
    nothing = {"confidence": summarise(Reliability(), Reliability(), 1.0)}
    assert reliability_blocks({}) == reliability_blocks(nothing) == []
