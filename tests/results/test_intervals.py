import numpy as np
import pytest

from asrscale.results.intervals import MIN_SPEAKERS, NO_SPEAKER, rates_by_speaker, rates_with_intervals


def counts(rng: np.random.Generator, speakers: int, utterances: int, spread: float) -> np.ndarray:
    """Ten words an utterance, of which each speaker gets a share of their own wrong, about 0.2."""
    shares = np.clip(rng.normal(0.2, spread, speakers), 0, 1).repeat(utterances)
    edits = rng.binomial(10, shares)
    return np.stack([edits, np.full(len(edits), 10), edits, np.full(len(edits), 10)], axis=1)


@pytest.mark.parametrize(("known", "least", "most"), [(True, 0.88, 0.99), (False, 0.3, 0.7)])
def test_intervals_hold_where_speakers_err_alike_only_if_speakers_are_resampled(
    known: bool, least: float, most: float
) -> None:
    """Of 200 corpora of 30 speakers: a 95 % interval must miss the true rate rarely."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(200):
        amounts = counts(rng, 30, 20, spread=0.08)
        names = np.arange(30).repeat(20) if known else np.full(600, NO_SPEAKER)
        rates = rates_by_speaker(amounts, names)
        assert rates["resampled"] == ("speakers" if known else "utterances")
        hits += rates["wer_low"] <= 0.2 <= rates["wer_high"]
    assert least < hits / 200 < most


def test_few_speakers_are_not_resampled() -> None:
    amounts = counts(np.random.default_rng(0), MIN_SPEAKERS, 2, spread=0.1)
    names = np.arange(MIN_SPEAKERS).repeat(2)
    assert rates_by_speaker(amounts, names)["resampled"] == "speakers"
    assert rates_by_speaker(amounts[2:], names[2:])["resampled"] == "utterances"
    assert rates_by_speaker(amounts, np.append(names[:-1], NO_SPEAKER))["resampled"] == "utterances"


def test_intervals_are_those_of_resampling_one_by_one() -> None:
    rng = np.random.default_rng(1)
    words = rng.integers(1, 12, 300)
    edits = rng.binomial(words, 0.15)
    amounts = np.stack([edits, words, edits * 3, words * 5], axis=1)
    found = rates_with_intervals(amounts)
    assert found["wer"] == edits.sum() / words.sum() and found["cer"] == pytest.approx(found["wer"] * 3 / 5)
    drawn = rng.integers(300, size=(4_000, 300))
    expected = np.percentile(edits[drawn].sum(axis=1) / words[drawn].sum(axis=1), (2.5, 97.5))
    assert [found["wer_low"], found["wer_high"]] == pytest.approx(expected.tolist(), abs=0.004)
    assert found == rates_with_intervals(amounts)
    assert rates_with_intervals(amounts[:1])["wer_low"] == edits[0] / words[0]
