import math

import numpy as np
import pytest

from asrscale.decoding.beam_search import Pruning
from asrscale.decoding.confidence import (
    agreement,
    confidence_of_text,
    path_confidences,
    posterior_confidences,
    shares,
)
from asrscale.decoding.decoder import Decoder
from asrscale.decoding.scoring import Weights, build_scorer
from asrscale.speech.vocabulary import Vocabulary

VOCABULARY = Vocabulary(("a", "b", "|", "[PAD]"), unknown="")


def test_a_word_has_the_product_of_the_best_of_each_token() -> None:
    path = ["ab|[PAD]".index(token) if token != "_" else 3 for token in "_aa_ab|_bb_"]
    probabilities = np.array([0.1, 0.5, 0.8, 0.2, 0.9, 0.5, 0.3, 0.1, 0.6, 0.4, 0.2])
    found = path_confidences(path, np.log(probabilities), VOCABULARY)
    assert found == pytest.approx([0.8 * 0.9 * 0.5, 0.6])
    assert path_confidences([3, 3, 2], np.zeros(3), VOCABULARY) == path_confidences([], np.zeros(0), VOCABULARY) == []
    probabilities[8] = np.nan  # of a model that is broken
    assert path_confidences(path, np.log(probabilities), VOCABULARY)[1] == 0.0


def test_shares_sum_to_one_and_are_more_equal_with_temperature() -> None:
    assert shares([-1000.0, -1001.0], 1.0) == pytest.approx([1 / (1 + math.exp(-1)), 1 / (1 + math.e)])
    assert shares([0.0, -4.0], 4.0) == pytest.approx(shares([0.0, -1.0], 1.0))
    assert shares([0.0, -np.inf, np.nan], 1.0).tolist() == [1, 0, 0]
    assert shares([np.nan, -np.inf], 1.0).tolist() == [0, 0]


def test_a_word_has_the_share_of_the_texts_with_it_in_its_place() -> None:
    found = [("a b a", math.log(0.5)), ("a b", math.log(0.25)), ("b b a", math.log(0.25))]
    assert posterior_confidences(["a", "b", "a"], found, 1.0) == pytest.approx([0.75, 1.0, 0.75])
    assert agreement(["a"], [[], ["b", "a"]]).tolist() == [[False], [True]]
    assert posterior_confidences([], [("", 0.0)], 1.0) == [] and confidence_of_text([]) is None
    assert confidence_of_text([0.5, 1.0]) == 0.75


def decoder(**settings: float) -> Decoder:
    scorer, _ = build_scorer(VOCABULARY, None, Weights())
    return Decoder(scorer, Pruning(50, np.inf, np.inf), **settings)


def test_confidences_of_a_search_are_those_of_all_texts_where_all_are_found() -> None:
    """Summed over all paths by hand."""
    frames = np.log(np.random.default_rng(0).dirichlet(np.full(4, 0.7), 4)).astype(np.float32)
    by_text: dict[str, float] = {}
    for path in np.ndindex(4, 4, 4, 4):
        kept = [token for place, token in enumerate(path) if token != 3 and (not place or path[place - 1] != token)]
        text = " ".join("".join("ab|"[token] for token in kept).replace("|", " ").split())
        by_text[text] = by_text.get(text, 0.0) + math.exp(sum(frames[place, token] for place, token in enumerate(path)))
    reading = decoder(alternatives=3).read(frames)
    best = sorted(by_text, key=lambda text: -by_text[text])[:3]
    assert [text for text, _ in reading.alternatives] == best
    assert [math.exp(score) for _, score in reading.alternatives] == pytest.approx([by_text[t] for t in best], rel=1e-4)


def test_the_best_texts_of_pieces_are_joined_to_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asrscale.decoding.decoder.PIECE_FRAMES", 20)
    path = ([0] * 3 + [3] + [1] * 2 + [2] + [3] * 4) * 5
    frames = np.full((len(path), 4), -9.0, np.float32)
    frames[np.arange(len(path)), path] = -0.001
    frames[0] = [-0.7, -0.8, -9, -9]  # "ab" or, less likely, "bab"
    reading = decoder(alternatives=4).read(frames)
    texts = [text for text, _ in reading.alternatives]
    assert texts[:2] == ["ab ab ab ab ab", "bab ab ab ab ab"] and len(texts) == len(set(texts)) == 4
    assert len(reading.confidences) == 5 and reading.confidences[0] < 0.6 < 0.9 < min(reading.confidences[1:])
    hotter = decoder(temperature=3.0).read(frames)
    assert hotter.path == reading.path and hotter.alternatives == ()
    assert max(hotter.confidences[1:]) < min(reading.confidences[1:])


@pytest.mark.parametrize("broken", [np.nan, -np.inf])
def test_scores_that_are_no_numbers_have_a_text_and_no_confidence(broken: float) -> None:
    for count in (0, 1, 30):
        reading = decoder(alternatives=2).read(np.full((count, 4), broken, np.float32))
        assert len(reading.path) == count and all(0 <= one <= 1 for one in reading.confidences)
    blank = np.full((30, 4), -30.0, np.float32)
    blank[:, 3] = 0
    assert decoder(alternatives=2).read(blank).confidences == []
