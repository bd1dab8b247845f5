"""What is taken for what."""

import random

import jiwer
import pytest

from asrscale.results import confusions as module
from asrscale.results.confusions import Confusions, name_of
from asrscale.results.metrics import count_errors

PAIRS = [
    ("the cat sat", "the bat sat"),
    ("the cat sat", "cat sat"),
    ("a b c", "a x b c y"),
    ("one two three", ""),
    ("", "one two"),
    ("same", "same"),
    ("e\u0301t\u00e9 日本", "ete 日木"),
]


@pytest.mark.parametrize("metric", ["wer", "cer"])
def test_the_sums_are_those_of_the_metric(metric: str) -> None:
    rng = random.Random(0)
    words = ["cat", "bat", "sat", "the", "a", "éa"]
    random_pairs = [tuple(" ".join(rng.choices(words, k=rng.randrange(9))) for _ in range(2)) for _ in range(300)]
    found = Confusions(metric)
    pairs = [*PAIRS, *random_pairs]
    for reference, hypothesis in pairs:
        found.add(reference, hypothesis)
    counts = count_errors(*map(list, zip(*pairs, strict=True)))
    assert found.totals == counts.kinds(metric)
    assert found.substitutions.total() == found.totals[0]
    assert found.deletions.total() == found.totals[1]
    assert found.insertions.total() == found.totals[2]


def test_who_is_confused_with_whom() -> None:
    found = Confusions("wer")
    for reference, hypothesis in PAIRS[:5]:
        found.add(reference, hypothesis)
    assert found.substitutions == {("cat", "bat"): 1}
    assert found.deletions == {"the": 1, "one": 1, "two": 1, "three": 1}
    assert found.insertions == {"x": 1, "y": 1, "one": 1, "two": 1} and found.is_exact
    characters = Confusions("cer")
    characters.add("a cat", "acat")
    characters.add("bat", "bad")
    assert characters.deletions == {" ": 1} and characters.substitutions == {("t", "d"): 1}


def test_jiwer_counts_the_same_words() -> None:
    """`jiwer.collect_error_counts` is jiwer's own answer to the same question; it joins words in a row."""
    pairs = [("the cat sat", "the bat sat"), ("the cat", "the bat"), ("a b", "b")]
    references, hypotheses = map(list, zip(*pairs, strict=True))
    substitutions, insertions, deletions = jiwer.collect_error_counts(jiwer.process_words(references, hypotheses))
    found = Confusions("wer")
    for pair in pairs:
        found.add(*pair)
    assert found.substitutions == dict(substitutions)
    assert found.deletions == dict(deletions) and found.insertions == dict(insertions)


def test_of_very_many_the_frequent_ones_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_DIFFERENT", 10)
    found = Confusions("wer")
    for number in range(100):
        found.add("often", "soften")
        found.add(f"word{number}", f"other{number}")
    assert found.substitutions.most_common(1) == [(("often", "soften"), 100)]
    assert len(found.substitutions) <= 10 and not found.is_exact
    assert found.totals == (200, 0, 0)


def test_characters_that_do_not_show_have_names() -> None:
    assert [name_of(one) for one in (" ", "a", "word", "\u0301")] == ["space", "a", "word", "◌\u0301"]
