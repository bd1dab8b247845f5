import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from asrscale.common import distributed
from asrscale.data.index import Index, read_index
from asrscale.decoding.beam_search import Pruning
from asrscale.decoding.confidence import path_confidences, posterior_confidences
from asrscale.decoding.decoder import Decoder, LogProbabilities
from asrscale.decoding.scoring import Weights, build_scorer
from asrscale.results.tuned_confidence import fit_best_paths, fit_search
from asrscale.speech.ctc_text import text_of_path
from asrscale.speech.vocabulary import Vocabulary, build_vocabulary

VOCABULARY = build_vocabulary("")
TEMPERATURES = [math.exp(ln) for ln in np.arange(math.log(0.25), math.log(64), 0.05)]

Kept = list[tuple[int, LogProbabilities]]


@pytest.fixture(scope="module")
def valid(tone_shards: Path) -> Index:
    return read_index([str(tone_shards / "valid")])


def frames_of(text: str, vocabulary: Vocabulary, rng: np.random.Generator) -> LogProbabilities:
    """Frames that are far too sure of a text of which some letters are others."""
    logits = rng.normal(0, 1, (2 * len(text), len(vocabulary.tokens)))
    logits[:, vocabulary.blank_id] += 9
    for place, id in enumerate(vocabulary.encode(text)):
        said = vocabulary.encode("z")[0] if rng.random() < 0.1 and id != vocabulary.delimiter_id else id
        logits[2 * place, said] += 14 + 4 * (said == id)
    found: LogProbabilities = torch.log_softmax(torch.from_numpy(logits), -1).numpy().astype(np.float32)
    return found


@pytest.fixture(scope="module")
def kept(valid: Index) -> Kept:
    rng = np.random.default_rng(0)
    return [(number, frames_of(text, VOCABULARY, rng)) for number, text in enumerate(valid.texts.to_pylist())]


def likeliest(valid: Index, read: Callable[[LogProbabilities, float], tuple[str, list[float]]], kept: Kept) -> float:
    """The temperature with the least loss, by trying all; words are right where both texts have them in one place."""
    losses = []
    for temperature in TEMPERATURES:
        loss = 0.0
        for number, frames in kept:
            text, confidences = read(frames, temperature)
            said = valid.texts[number].as_py().split()
            assert len(text.split()) == len(said)  # only letters are wrong
            for word, expected, confidence in zip(text.split(), said, confidences, strict=True):
                sure = min(max(confidence, 1e-4), 1 - 1e-4)
                loss -= math.log(sure if word == expected else 1 - sure)
        losses.append(loss)
    return TEMPERATURES[int(np.argmin(losses))]


def test_the_temperature_of_best_paths_is_the_likeliest(valid: Index, kept: Kept) -> None:
    def read(frames: LogProbabilities, temperature: float) -> tuple[str, list[float]]:
        path = frames.argmax(-1).tolist()
        scaled = torch.log_softmax(torch.from_numpy(frames) / temperature, -1).numpy()
        confidences = path_confidences(path, scaled[np.arange(len(path)), path], VOCABULARY)
        return text_of_path(path, VOCABULARY), confidences

    with distributed.joined_ranks() as world:
        found = fit_best_paths(VOCABULARY, valid, kept, world)
    assert found == pytest.approx(likeliest(valid, read, kept), abs=1e-3) and found > 1.2


def test_the_temperature_of_a_search_is_the_likeliest(valid: Index, kept: Kept) -> None:
    scorer, _ = build_scorer(VOCABULARY, None, Weights())
    decoder = Decoder(scorer, Pruning(8, 25.0, 12.0))
    texts = {number: decoder.texts(frames) for number, frames in kept}
    numbers = {id(frames): number for number, frames in kept}

    def read(frames: LogProbabilities, temperature: float) -> tuple[str, list[float]]:
        found = texts[numbers[id(frames)]]
        return found[0][0], posterior_confidences(found[0][0].split(), found, temperature)

    with distributed.joined_ranks() as world:
        found = fit_search(decoder, valid, kept, world)
    assert found == pytest.approx(likeliest(valid, read, kept), abs=1e-3) and found > 1.2


def test_nothing_is_fitted_where_hardly_a_word_is_wrong(valid: Index) -> None:
    rng = np.random.default_rng(0)
    frames = [(0, frames_of(valid.texts[0].as_py(), VOCABULARY, rng))]
    with distributed.joined_ranks() as world:
        assert fit_best_paths(VOCABULARY, valid, frames, world) is None
