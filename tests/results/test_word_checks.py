from pathlib import Path

import pytest

from asrscale.data.index import Index, read_index
from asrscale.results.frame_texts import Hypothesis
from asrscale.results.word_checks import check_words, describe_oracle


@pytest.fixture(scope="module")
def valid(tone_shards: Path) -> Index:
    return read_index([str(tone_shards / "valid")])


def test_words_are_counted_by_their_confidences(valid: Index) -> None:
    """One wrong word at the beginning of every second utterance, which has less confidence."""
    hypotheses = []
    for number, text in enumerate(valid.texts.to_pylist()):
        words = ["wrong", *text.split()[1:]] if number % 2 else text.split()
        confidences = [0.25 if word == "wrong" else 0.75 for word in words]
        hypotheses.append((number, Hypothesis(" ".join(words), confidences, [0.95] * len(words))))
    checks = check_words(valid, hypotheses)
    all_words = sum(len(text.split()) for text in valid.texts.to_pylist())
    wrong = len(valid) // 2
    assert checks.calibrated.points() == [(0.25, 0.0, wrong), (0.75, 1.0, all_words - wrong)]
    assert checks.uncalibrated.points() == [pytest.approx((0.95, 1 - wrong / all_words, all_words))]
    assert checks.calibrated.area == 1 and checks.uncalibrated.area == 0.5
    assert checks.uncounted == 0


def test_a_text_that_has_other_words_once_it_is_normalised_is_not_counted(valid: Index) -> None:
    """Of punctuation alone nothing is left; the confidence of a word that is no more says nothing."""
    text = valid.texts[0].as_py()
    more = Hypothesis(f"{text} !", [0.5] * (len(text.split()) + 1), [0.5] * (len(text.split()) + 1))
    checks = check_words(valid, [(0, more)])
    assert checks.uncounted == 1 and not checks.calibrated.words.any()


def test_the_best_alternative_is_the_one_with_the_fewest_errors(valid: Index) -> None:
    texts = valid.texts.to_pylist()
    hypotheses = [
        (number, Hypothesis("x", [0.5], [0.5], [("x", 0.0), (f"{text} y", -1.0), (f"{text} yy", -2.0)]))
        for number, text in enumerate(texts)
    ]
    found = describe_oracle(check_words(valid, hypotheses), 3)
    words, characters = (sum(map(len, split)) for split in ([text.split() for text in texts], texts))
    assert found == {"nbest": 3, "wer": len(texts) / words, "cer": 2 * len(texts) / characters}
