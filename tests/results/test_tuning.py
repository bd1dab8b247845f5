from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.disturbed import disturb

from asrscale.common import distributed
from asrscale.data.index import Index, read_index
from asrscale.decoding.beam_search import Pruning
from asrscale.decoding.decoder import Decoder, LogProbabilities
from asrscale.decoding.scoring import Weights, build_scorer
from asrscale.model.recognizer import Recognizer
from asrscale.ngrams.assembling import build_model
from asrscale.ngrams.corpus import write_corpus
from asrscale.results import tuning
from asrscale.results.comparison import comparable
from asrscale.results.evaluation import evaluate
from asrscale.results.frame_texts import keeping_reader
from asrscale.results.metrics import count_errors
from asrscale.results.tuning import Tuned, tune

LM_WEIGHTS, WORD_BONUSES = (0.25, 1.0), (-2.0, 0.0, 2.0)
LIMITS = {"memory_cap_seconds": 40.0, "threads": 1, "cache": None}


@pytest.fixture(scope="module")
def train(tone_shards: Path) -> Index:
    return read_index([str(tone_shards / "train")])


@pytest.fixture(scope="module")
def recognizer(tone_recognizer: Recognizer, tmp_path_factory: pytest.TempPathFactory) -> Recognizer:
    return disturb(tone_recognizer, tmp_path_factory.mktemp("disturbed"), amount=1.1)


@pytest.fixture
def decoder(recognizer: Recognizer, train: Index, tmp_path: Path) -> Decoder:
    sentences = [text.split() for text in train.texts.to_pylist()]
    model = build_model(write_corpus(sentences, tmp_path / "ids"), 2, [0, 0], tmp_path)[0]
    scorer, _ = build_scorer(recognizer.vocabulary, model, Weights(0.25, -2.0))
    return Decoder(scorer, Pruning(8, 20.0, 10.0))


def tuned(recognizer: Recognizer, decoder: Decoder | None, index: Index) -> Tuned:
    with distributed.joined_ranks() as world:
        return tune(recognizer, decoder, index, "wer", world, **LIMITS)


def test_no_other_weight_or_bonus_alone_is_better(
    recognizer: Recognizer, decoder: Decoder, train: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted again for each, of the frames of an evaluation of its own."""
    monkeypatch.setattr(tuning, "LM_WEIGHTS", LM_WEIGHTS)
    monkeypatch.setattr(tuning, "WORD_BONUSES", WORD_BONUSES)
    few = train.take(np.arange(20))
    found = tuned(recognizer, decoder, few)
    kept: list[tuple[int, LogProbabilities]] = []
    with distributed.joined_ranks() as world:
        greedy = evaluate(
            recognizer.model,
            recognizer,
            few,
            world,
            read_texts=keeping_reader(recognizer, kept),
            title=None,
            **LIMITS,
        )
    assert found.greedy == greedy.errors and found.utterances == len(few)
    assert found.search is not None and 0 < found.search.after.wer < found.search.before.wer

    def rate(weights: Weights) -> float:
        weighted = replace(decoder, scorer=replace(decoder.scorer, weights=weights))
        return count_errors(*comparable(few, [(number, weighted.text(frames)) for number, frames in kept])).wer

    best = found.search.weights
    assert rate(best) == found.search.after.wer and rate(Weights(0.25, -2.0)) == found.search.before.wer
    others = [replace(best, lm_weight=one) for one in LM_WEIGHTS]
    others += [replace(best, word_bonus=one) for one in WORD_BONUSES]
    assert min(map(rate, others)) == found.search.after.wer


def test_a_search_without_a_language_model_keeps_its_weights(recognizer: Recognizer, train: Index) -> None:
    scorer, _ = build_scorer(recognizer.vocabulary, None, Weights(0.0, 0.5))
    few = train.take(np.arange(75))
    found = tuned(recognizer, Decoder(scorer, Pruning(4, 10.0, 5.0)), few)
    assert found.search is not None and found.search.weights == Weights(0.0, 0.5)
    assert found.search.before == found.search.after and found.search.temperature not in (None, 1.0)
    alone = tuned(recognizer, None, few)
    assert alone.search is None and alone.temperature == found.temperature
    assert alone.greedy == found.greedy


def test_a_sample_decides_where_there_are_many(
    recognizer: Recognizer, train: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "MOST_UTTERANCES", 7)
    assert tuned(recognizer, None, train).utterances == 7
    monkeypatch.setattr(tuning, "_MOST_BYTES", 1)  # of frames that are kept
    assert tuned(recognizer, None, train).utterances == 1
