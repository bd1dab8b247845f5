from pathlib import Path
from random import Random

import numpy as np
import pytest
from helpers.kneser_ney import BruteForce, random_sentences

from asrscale.ngrams import counting
from asrscale.ngrams.arpa import read_arpa
from asrscale.ngrams.assembling import build_model
from asrscale.ngrams.corpus import write_corpus
from asrscale.ngrams.model import NgramModel

LMPLZ = Path(__file__).with_name("lmplz")


def model_of(sentences: list[list[str]], order: int, prune: list[int], folder: Path) -> NgramModel:
    model, _ = build_model(write_corpus(sentences, folder / "ids"), order, prune, folder)
    return model


def entries(model: NgramModel) -> dict[tuple[str, ...], tuple[float, float]]:
    """The probability and the weight of backing off of each n-gram, by its words."""
    found = {}
    for state in range(1, len(model.log10_probabilities)):
        words: list[str] = []
        rest = state
        while rest > len(model.words):
            key = int(model.keys[rest - 1 - len(model.words)])
            words.insert(0, model.words[key & ((1 << model.bits) - 1)])
            rest = key >> model.bits
        backoff = model.log10_backoffs[state] if state < len(model.log10_backoffs) else 0.0
        ngram = (model.words[rest - 1], *words)
        found[ngram] = (float(model.log10_probabilities[state]), float(backoff))
    return found


@pytest.mark.parametrize(
    ("order", "prune", "count"),
    [(2, [0, 0], 1), (2, [0, 0], 60), (3, [0, 0, 0], 200), (3, [0, 1, 2], 200), (5, [0, 0, 1, 1, 3], 400)],
)
def test_all_ngrams_are_as_their_formulas_say(
    order: int, prune: list[int], count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "CHUNK", 37)
    sentences = random_sentences(Random(order * count), count)
    expected = BruteForce(sentences, order, prune)
    found = entries(model_of(sentences, order, prune, tmp_path))
    ngrams = set().union(*(expected.ngrams(n) for n in range(1, order + 1)))
    assert found.keys() == ngrams
    for ngram, (log10_probability, log10_backoff) in found.items():
        if ngram != ("<s>",):
            assert 10**log10_probability == pytest.approx(expected.probability(ngram), rel=1e-5), ngram
        if len(ngram) < order:
            assert 10**log10_backoff == pytest.approx(expected.backoff(ngram), rel=1e-5), ngram


@pytest.mark.parametrize(("name", "order", "prune"), [("plain", 3, [0, 0, 0]), ("pruned", 4, [0, 0, 1, 1])])
def test_a_model_is_that_of_lmplz(name: str, order: int, prune: list[int], tmp_path: Path) -> None:
    # lmplz --discount_fallback of KenLM 0.3.0; `pruned` with --prune 0 0 1
    text = (LMPLZ / "text.txt").read_text().splitlines()
    own = entries(model_of([line.split() for line in text], order, prune, tmp_path))
    theirs = entries(read_arpa(LMPLZ / f"{name}.arpa.gz"))
    del own[("<s>",)], theirs[("<s>",)]
    assert own.keys() == theirs.keys()
    differences = np.array([np.subtract(own[ngram], theirs[ngram]) for ngram in own])
    assert np.abs(differences).max() < 1e-6
