import itertools

import numpy as np
import pytest

from asrscale.decoding import decoder as decoder_module
from asrscale.decoding.beam_search import Pruning
from asrscale.decoding.decoder import Decoder
from asrscale.decoding.scoring import Weights, build_scorer
from asrscale.speech.ctc_text import text_of_path
from asrscale.speech.vocabulary import Vocabulary

VOCABULARY = Vocabulary(("a", "b", "|", "[PAD]"), unknown="")


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    scorer, _ = build_scorer(VOCABULARY, None, Weights(word_bonus=0.5))
    return Decoder(scorer, Pruning(100, np.inf, np.inf))


def test_the_path_is_the_likeliest_that_says_the_text(decoder: Decoder) -> None:
    for seed in range(8):
        frames = np.log(np.random.default_rng(seed).dirichlet(np.full(4, 0.5), 1 + seed % 6)).astype(np.float32)
        text = decoder.text(frames)
        path = decoder.path(frames)
        assert text_of_path(path, VOCABULARY) == text

        def score(one: tuple[int, ...], frames: np.ndarray = frames) -> float:
            return float(sum(frames[frame, token] for frame, token in enumerate(one)))

        tokens = [token for token, _ in itertools.groupby(path)]
        same = [
            other
            for other in itertools.product(range(4), repeat=len(frames))
            if [token for token, _ in itertools.groupby(other) if token != 3] == [t for t in tokens if t != 3]
        ]
        assert score(tuple(path)) == pytest.approx(max(map(score, same)), abs=1e-4)


def test_a_long_recording_is_searched_in_pieces_that_end_in_pauses(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_module, "PIECE_FRAMES", 20)
    path = ([0] * 3 + [3] + [1] * 2 + [2] + [3] * 4) * 9
    frames = np.full((len(path), 4), -8.0, np.float32)
    frames[np.arange(len(path)), path] = -0.001
    assert text_of_path(decoder.path(frames), VOCABULARY) == text_of_path(path, VOCABULARY)
    assert len(decoder.path(frames)) == len(path)
    assert decoder.path(frames[:0]) == []
