import itertools
import math
from collections.abc import Mapping
from random import Random

import numpy as np
import pytest
import regex

from asrscale.decoding.beam_search import Pruning
from asrscale.decoding.decoder import Decoder
from asrscale.decoding.scoring import Scorer, Weights, build_scorer
from asrscale.ngrams.assembling import build_model
from asrscale.ngrams.corpus import write_corpus
from asrscale.ngrams.model import NgramModel
from asrscale.ngrams.tokens import words_of
from asrscale.speech.ctc_text import text_of_path
from asrscale.speech.vocabulary import Vocabulary

LETTERS = Vocabulary(("a", "b", "|", "[UNK]", "[PAD]"))
UPPER = Vocabulary(("[PAD]", "|", "A", "B"), unknown="", lower_cased=True)
CHINESE = Vocabulary(("今", "a", "|", "[PAD]"), unknown="")
PHONES = Vocabulary(("a", "b", "[UNK]", "[PAD]"), word_delimiter="", spaced=True)
PHRASES = {"b a": 2.0, "bb": 3.0, "a": 1.0, "b a b": -1.0}
NOTHING_PRUNED = Pruning(10**6, np.inf, np.inf)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> NgramModel:
    folder = tmp_path_factory.mktemp("model")
    random = Random(1)
    texts = [
        [random.choice(["a", "b", "ab", "ba", "aa", "今"]) for _ in range(random.randint(1, 3))] for _ in range(60)
    ]
    return build_model(write_corpus(texts, folder / "ids"), 3, [0, 0, 0], folder)[0]


def exhaustive(frames: np.ndarray, scorer: Scorer, phrases: Mapping[str, float]) -> dict[str, float]:
    """The score of every text, by the paths of all tokens one after another."""
    size = frames.shape[1]
    acoustic: dict[str, float] = {}
    for path in itertools.product(range(size), repeat=len(frames)):
        text = text_of_path(path, scorer.vocabulary)
        log_probability = sum(frames[frame, token] for frame, token in enumerate(path))
        acoustic[text] = np.logaddexp(acoustic.get(text, -np.inf), log_probability)
    return {text: found + other_scores(text, scorer, phrases) for text, found in acoustic.items()}


def other_scores(text: str, scorer: Scorer, phrases: Mapping[str, float]) -> float:
    words = words_of(text)
    score = scorer.weights.word_bonus * len(words)
    if scorer.model is not None:
        score += scorer.weights.lm_weight * math.log(10) * sum(scorer.model.log10_sentence(words))
        hot = {word for phrase in phrases for word in words_of(phrase)}
        unknown = [word for word in words if word not in scorer.model.words and word not in hot]
        letters = sum(len(word) for word in unknown if word != "今" and not scorer.vocabulary.spaced)
        score += scorer.weights.lm_weight * scorer.ln_letter * letters
        if scorer.closed and unknown:
            return -math.inf
    for phrase, weight in phrases.items():
        pattern = phrase if "今" in phrase else rf"(?<!\S){phrase}(?!\S)"
        score += weight * len(regex.findall(pattern, text, overlapped=True))
    return score


def random_frames(seed: int, vocabulary: Vocabulary) -> np.ndarray:
    rng = np.random.default_rng(seed)
    frames = np.log(rng.dirichlet(np.full(len(vocabulary.tokens), 0.5), rng.integers(1, 6)))
    return np.maximum(frames, -30)


@pytest.mark.parametrize("vocabulary", [LETTERS, UPPER, CHINESE, PHONES], ids=["letters", "upper", "chinese", "phones"])
@pytest.mark.parametrize("kind", ["model", "hot words", "both", "closed"])
def test_all_texts_have_the_scores_of_an_exhaustive_search(
    vocabulary: Vocabulary, kind: str, model: NgramModel
) -> None:
    phrases = {} if kind in ("model", "closed") else PHRASES
    if phrases and vocabulary in (CHINESE, PHONES):
        phrases = {"今今": 2.0} if vocabulary is CHINESE else {"b a": 2.0, "a": 1.0}
    used = None if kind == "hot words" else model
    scorer, _ = build_scorer(vocabulary, used, Weights(0.8, 0.5), closed=kind == "closed", hot_phrases=phrases)
    decoder = Decoder(scorer, NOTHING_PRUNED)
    for seed in range(4):
        frames = random_frames(seed, vocabulary)
        expected = exhaustive(frames, scorer, phrases)
        found = dict(decoder.texts(frames))
        if kind == "closed":
            best = max(expected, key=expected.__getitem__)
            text, score = decoder.texts(frames)[0]
            assert text == best and score == pytest.approx(expected[best], abs=1e-4)
        else:
            assert found == pytest.approx(expected, abs=1e-4)
