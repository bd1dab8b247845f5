import json
import random
from dataclasses import astuple

import jiwer
import pytest

from asrscale.results.metrics import ErrorCounts, aligned_differences, count_errors

WORDS = ["turn", "the", "red", "lamp", "on", "off", "fourties", "it's"]


def random_pairs(seed: int, count: int) -> tuple[list[str], list[str]]:
    draw = random.Random(seed)
    references = [" ".join(draw.choices(WORDS, k=draw.randint(0, 9))) for _ in range(count)]
    hypotheses = [" ".join(draw.choices(WORDS, k=draw.randint(0, 9))) for _ in range(count)]
    return references, hypotheses


def test_rates_are_those_of_jiwer_on_the_whole_lists() -> None:
    references, hypotheses = random_pairs(seed=1, count=200)
    counts = count_errors(references, hypotheses)
    assert counts.wer == pytest.approx(jiwer.wer(references, hypotheses), abs=1e-12)
    assert counts.cer == pytest.approx(jiwer.cer(references, hypotheses), abs=1e-12)
    assert counts.utterances == 200


def test_counts_of_one_known_sentence() -> None:
    counts = count_errors(["turn the red lamp on"], ["turn a red lamp"])
    assert (counts.word_hits, counts.word_substitutions, counts.word_deletions, counts.word_insertions) == (3, 1, 1, 0)
    assert counts.wer == 2 / 5


def test_the_parts_of_any_split_add_up_to_the_whole() -> None:
    references, hypotheses = random_pairs(seed=2, count=50)
    whole = count_errors(references, hypotheses)
    for cut in (0, 1, 17, 50):
        parts = [(references[:cut], hypotheses[:cut]), (references[cut:], hypotheses[cut:])]
        first, second = (count_errors(*part) for part in parts)
        assert first + second == whole and all(type(count) is int for count in astuple(first + second))


def test_a_corpus_rate_is_not_the_mean_of_its_utterances() -> None:
    counts = count_errors(["on", "turn the red lamp"], ["off", "turn the red lamp"])
    assert counts.wer == 1 / 5


def test_empty_reference_counts_insertions() -> None:
    counts = count_errors(["", "red lamp"], ["turn on", "red lamp"])
    assert counts.word_insertions == 2
    assert counts.wer == 2 / 2


@pytest.mark.parametrize(("hypothesis", "rate"), [("", 0.0), ("turn it on", 3.0)])
def test_without_reference_words_the_rate_is_the_number_of_insertions(hypothesis: str, rate: float) -> None:
    counts = count_errors([""], [hypothesis])
    assert counts.wer == rate == jiwer.wer("", hypothesis)
    assert json.loads(json.dumps(counts.wer, allow_nan=False)) == rate


def test_no_utterances_are_no_errors() -> None:
    assert count_errors([], []) == ErrorCounts()
    assert ErrorCounts().wer == ErrorCounts().cer == 0.0


def test_empty_hypothesis_deletes_every_word() -> None:
    assert count_errors(["red lamp on"], [""]).word_deletions == 3


def test_outer_spaces_count_for_nothing_and_inner_ones_are_characters() -> None:
    assert count_errors(["red lamp"], ["  red lamp "]).cer == 0.0
    doubled = count_errors(["red lamp"], ["red  lamp"])
    assert (doubled.wer, doubled.cer) == (0.0, 1 / 8)


def test_lists_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 references but 1 hypotheses"):
        count_errors(["a", "b"], ["a"])


@pytest.mark.parametrize(
    ("reference", "hypothesis", "aligned"),
    [
        ("a big dog", "a big dog", "a big dog"),
        ("a big dog", "a pig", "a [big→pig] [dog→]"),
        ("a dog", "a big dog", "a [→big] dog"),
        ("", "a dog", "[→a dog]"),
        ("a dog", "", "[a dog→]"),
    ],
)
def test_differences_are_shown_in_place(reference: str, hypothesis: str, aligned: str) -> None:
    assert aligned_differences(reference, hypothesis) == aligned


def test_amounts_are_what_rates_are_made_of() -> None:
    counts = count_errors(["a big dog"], ["a pig"])
    edits, words, character_edits, characters = counts.amounts
    assert (edits / words, character_edits / characters) == (counts.wer, counts.cer) and (edits, words) == (2, 3)
