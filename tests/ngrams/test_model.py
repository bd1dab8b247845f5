import math
from pathlib import Path
from random import Random

import pytest
from helpers.kneser_ney import BruteForce, random_sentences

from asrscale.ngrams.assembling import build_model
from asrscale.ngrams.corpus import write_corpus
from asrscale.ngrams.model import EMPTY, NgramModel, word_bits

PRUNE = [0, 0, 1]


@pytest.fixture(scope="module")
def sentences() -> list[list[str]]:
    return random_sentences(Random(4), 100)


@pytest.fixture(scope="module")
def model(sentences: list[list[str]], tmp_path_factory: pytest.TempPathFactory) -> NgramModel:
    folder: Path = tmp_path_factory.mktemp("model")
    return build_model(write_corpus(sentences, folder / "ids"), 3, PRUNE, folder)[0]


def test_probabilities_of_all_words_add_up_to_one_in_every_state(model: NgramModel) -> None:
    for state in range(len(model.log10_backoffs)):
        total = sum(10 ** model.advance(state, word)[0] for word in range(len(model.words)))
        assert total == pytest.approx(1, abs=1e-5)


def probability(expected: BruteForce, context: tuple[str, ...], word: str) -> float:
    """Of a word behind a context, by backing off as it is defined."""
    if (*context, word) in expected.ngrams(len(context) + 1):
        return expected.probability((*context, word))
    return expected.backoff(context) * probability(expected, context[1:], word)


def test_a_sentence_is_scored_by_its_longest_known_contexts(model: NgramModel, sentences: list[list[str]]) -> None:
    expected = BruteForce(sentences, 3, PRUNE)
    for words in [*random_sentences(Random(5), 40), ["a", "never", "b"]]:
        known = [word if word in model.ids else "<unk>" for word in words]
        line = ["<s>", *known, "</s>"]
        by_hand = [
            math.log10(probability(expected, tuple(line[max(0, end - 2) : end]), line[end]))
            for end in range(1, len(line))
        ]
        assert model.log10_sentence(words) == pytest.approx(by_hand, abs=1e-4), words


def test_the_state_behind_a_word_is_the_longest_known_end(model: NgramModel) -> None:
    _, behind_unknown = model.advance(model.start, model.ids["<unk>"])
    assert behind_unknown == 1 + model.ids["<unk>"]
    assert model.start not in (EMPTY, behind_unknown)
    for state in range(1, len(model.log10_backoffs)):
        assert model.suffixes[state] < state  # shorter, so that backing off ends


@pytest.mark.parametrize(("words", "bits"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (256, 8), (257, 9)])
def test_the_bits_of_a_key_hold_every_word(words: int, bits: int) -> None:
    assert word_bits(words) == bits and words <= 1 << bits
