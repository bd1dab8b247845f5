from collections.abc import Mapping

import numpy as np
import pytest

from asrscale.common.html import Block
from asrscale.results.page_data import PageData
from asrscale.results.rate_plots import rate_plots
from asrscale.results.tally import NOT_COUNTED, OWN

NUMBER = 40
RNG = np.random.default_rng(0)
SECONDS = RNG.uniform(1, 10, NUMBER)


def data_of(amounts: Mapping[str, np.ndarray]) -> PageData:
    return PageData(
        numbers=np.arange(NUMBER),
        amounts=amounts,
        seconds=SECONDS,
        speakers=np.full(NUMBER, -1, np.int32),
        confusions={},
        listed=[],
        worst=0,
    )


def amounts_of(edits: np.ndarray) -> np.ndarray:
    words = np.full(NUMBER, 10)
    return np.stack([edits, words, 2 * edits, 5 * words], axis=1).astype(np.int32)


def points(plot: Block, line: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for name, x, y, _ in plot["values"] if name == line]


def test_each_line_is_of_the_utterances_that_all_have() -> None:
    own, other = amounts_of(RNG.integers(0, 9, NUMBER)), amounts_of(RNG.integers(0, 9, NUMBER))
    other[::4] = NOT_COUNTED
    in_both = np.arange(NUMBER) % 4 > 0
    by_length, by_rate = rate_plots(data_of({OWN: own, "b": other}), [OWN, "b"], "wer", ["this", "other"])
    for name, amounts in (("this", own), ("other", other)):  # so few that they are one point
        [(x, y)] = points(by_length, name)
        assert x == pytest.approx(np.median(SECONDS[in_both]), rel=1e-3)
        assert y == pytest.approx(100 * amounts[in_both, 0].sum() / amounts[in_both, 1].sum(), rel=1e-3)
        [(x, _)] = points(by_rate, name)
        assert x == pytest.approx(np.median(10 / SECONDS[in_both]), rel=1e-3)
    assert "Each point stands for 30 utterances" in by_length["note"]


def test_the_metric_names_axes_and_units() -> None:
    by_length, by_rate = rate_plots(data_of({OWN: amounts_of(np.ones(NUMBER, int))}), [OWN], "cer")
    assert (by_length["caption"], by_rate["caption"]) == ("CER by length", "CER by rate of speech")
    assert by_length["y_label"] == "CER in %" and by_rate["x_label"] == "characters a second, pauses included"
    assert [y for _, y in points(by_length, "CER")] == [4.0, 4.0]


def test_without_utterances_there_is_no_plot() -> None:
    nothing = np.full((NUMBER, 4), NOT_COUNTED, np.int32)
    assert [plot["kind"] for plot in rate_plots(data_of({OWN: nothing}), [OWN], "wer")] == ["", ""]
