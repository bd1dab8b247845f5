import numpy as np
import pytest

from asrscale.common import distributed
from asrscale.results.calibration import Reliability, fit_temperature, format_confidence, summarise
from asrscale.results.metrics import right_words

RNG = np.random.default_rng(0)


def counted(confidences: np.ndarray, right: np.ndarray) -> Reliability:
    reliability = Reliability()
    for start in range(0, len(right), 7):  # in parts, as utterances come
        reliability.add(confidences[start : start + 7], right[start : start + 7])
    return reliability


def test_the_calibration_error_and_the_area_are_those_of_their_definitions() -> None:
    confidences = np.round(RNG.random(2_000), 3)
    right = RNG.random(2_000) < confidences**2
    reliability = counted(confidences, right)
    bins = np.minimum((confidences * 10).astype(int), 9)
    expected = sum(
        abs(confidences[bins == one].mean() - right[bins == one].mean()) * (bins == one).mean() for one in range(10)
    )
    assert reliability.error == pytest.approx(expected, abs=2e-3)
    pairs = np.sign(confidences[right][:, None] - confidences[~right])
    assert reliability.area == pytest.approx((pairs + 1).mean() / 2, abs=1e-3)
    assert sum(count for _, _, count in reliability.points()) == 2_000


def test_nothing_is_said_of_no_words_and_of_none_that_is_wrong() -> None:
    assert Reliability().error == 0 and Reliability().area is None
    assert format_confidence(summarise(Reliability(), Reliability(), 1.0)) == "confidence: no word to count"
    all_right = counted(np.array([0.0, 1.0]), np.array([True, True]))
    assert all_right.area is None and all_right.error == 0.5
    assert "pairs" not in format_confidence(summarise(all_right, all_right, 1.0))


def test_the_temperature_that_spoilt_confidences_is_found() -> None:
    logits = 2 * RNG.standard_normal(5_000)
    right = RNG.random(5_000) < 1 / (1 + np.exp(-logits))

    def confidences_at(temperature: float) -> list[float]:
        return (1 / (1 + np.exp(-2.5 * logits / temperature))).tolist()

    with distributed.joined_ranks() as world:
        temperature = fit_temperature(confidences_at, right.tolist(), world)
        assert temperature == pytest.approx(2.5, rel=0.1)
        assert fit_temperature(lambda _: [0.5] * 40, [True] * 40, world) is None
        assert fit_temperature(lambda _: [], [], world) is None
    before, after = (counted(np.array(confidences_at(one)), right) for one in (1.0, temperature))
    assert after.error < 0.03 < before.error
    line = format_confidence(summarise(after, before, temperature))
    assert f"expected calibration error {after.error:.2%} (without calibration {before.error:.2%})" in line


def test_right_words_are_those_that_are_aligned() -> None:
    assert right_words("a b c d", "a b x d e") == [True, True, False, True, False]
    assert right_words("", "a") == [False] and right_words("a", "") == [] and right_words("", "") == []
