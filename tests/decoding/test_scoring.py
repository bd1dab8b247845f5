from collections.abc import Mapping

import numpy as np
import pytest

from asrscale.decoding.beam_search import Pruning
from asrscale.decoding.decoder import Decoder
from asrscale.decoding.scoring import Weights, build_scorer
from asrscale.ngrams.assembling import build_model
from asrscale.ngrams.corpus import write_corpus
from asrscale.ngrams.model import NgramModel
from asrscale.speech.vocabulary import build_vocabulary

VOCABULARY = build_vocabulary("")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> NgramModel:
    folder = tmp_path_factory.mktemp("model")
    texts = [["the", "cat", "sat"], ["the", "dog", "sat"], ["a", "cat"], ["cat", "and", "dog"]] * 5
    return build_model(write_corpus(texts, folder / "ids"), 3, [0, 0, 0], folder)[0]


def frames_of(text: str, doubts: Mapping[str, tuple[str, float]]) -> np.ndarray:
    """Frames that say a text; a letter in `doubts` may be another one, which has that probability."""
    probabilities = np.full((2 * len(text), len(VOCABULARY.tokens)), 1e-5)
    for place, letter in enumerate(text):
        other, doubt = doubts.get(letter, (letter, 0.0))
        probabilities[2 * place, VOCABULARY.encode(letter)] = 1 - doubt
        probabilities[2 * place, VOCABULARY.encode(other)] += doubt
        probabilities[2 * place + 1, VOCABULARY.blank_id] = 1
    return np.log(probabilities / probabilities.sum(1, keepdims=True)).astype(np.float32)


def text_of(frames: np.ndarray, model: NgramModel | None, hot: Mapping[str, float], *, closed: bool = False) -> str:
    weights = Weights(1.0, 1.0) if model else Weights()
    scorer, _ = build_scorer(VOCABULARY, model, weights, closed=closed, hot_phrases=hot)
    return Decoder(scorer, Pruning(32, 20.0, 10.0)).text(frames)


def test_a_language_model_mends_a_letter(model: NgramModel) -> None:
    frames = frames_of("the kat sat", {"k": ("c", 0.3)})
    assert text_of(frames, None, {}) == "the kat sat"
    assert text_of(frames, model, {}) == "the cat sat"


@pytest.mark.parametrize("closed", [False, True])
def test_a_hot_word_that_the_model_never_saw_wins_where_it_may_have_been_said(model: NgramModel, closed: bool) -> None:
    doubtful = frames_of("the cat sat", {"c": ("k", 0.4)})
    assert text_of(doubtful, model, {}, closed=closed) == "the cat sat"
    assert text_of(doubtful, model, {"kat": 12.0}, closed=closed) == "the kat sat"
    assert text_of(doubtful, None, {"kat": 8.0}) == "the kat sat"
    clear = frames_of("the dog sat", {})
    assert text_of(clear, model, {"kat": 12.0}, closed=closed) == "the dog sat"


def test_a_name_can_be_found_without_being_hot_but_not_with_a_lexicon(model: NgramModel) -> None:
    frames = frames_of("the zebra sat", {})
    assert text_of(frames, model, {}) == "the zebra sat"
    assert "zebra" not in text_of(frames, model, {}, closed=True)
