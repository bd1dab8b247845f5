from pathlib import Path
from random import Random

import pytest
from helpers.kneser_ney import random_sentences

from asrscale.common.errors import CliError
from asrscale.decoding.options import DecodingOptions, Tuning, open_decoder, read_tuned, tuned_file, write_tuned
from asrscale.decoding.scoring import Weights
from asrscale.ngrams.assembling import build_model
from asrscale.ngrams.corpus import write_corpus
from asrscale.ngrams.model import NgramModel
from asrscale.ngrams.storage import MODEL_FILE, write_model
from asrscale.speech.vocabulary import build_vocabulary

VOCABULARY = build_vocabulary("")


@pytest.fixture
def model(tmp_path: Path) -> NgramModel:
    (tmp_path / "lm").mkdir()
    sentences = [*random_sentences(Random(1), 80), ["größe"]]
    model = build_model(write_corpus(sentences, tmp_path / "ids"), 3, [0, 0, 0], tmp_path)[0]
    write_model(model, tmp_path / "lm" / MODEL_FILE)
    return model


def test_weights_are_those_of_the_flags_then_as_tuned_then_the_default_ones(model: NgramModel, tmp_path: Path) -> None:
    lm = str(tmp_path / "lm")

    def weights(**flags: float) -> Weights:
        decoder, notes = open_decoder(DecodingOptions(lm=lm, **flags), VOCABULARY, None)
        assert decoder is not None and len(notes) == 1 and "1 words of the language model" in notes[0]
        return decoder.scorer.weights

    assert weights() == Weights(1.0, 1.0)
    write_tuned(tuned_file(lm), Tuning(Weights(0.5, -2.0), 2.5), {"data": "data/cv/dev"})
    assert weights() == Weights(0.5, -2.0) and weights(lm_weight=2.0) == Weights(2.0, -2.0)
    decoder, _ = open_decoder(DecodingOptions(lm=lm), VOCABULARY, None)
    assert decoder is not None and decoder.temperature == 2.5
    tuned_file(lm).write_text('{"lm_weight": 1, "word_bonus": 2}')  # of a version without temperatures
    assert weights() == Weights(1.0, 2.0) and read_tuned(lm).temperature == 1
    for damaged in ("{}", '{"lm_weight": 1, "word_bonus": 2, "temperature": NaN}'):
        tuned_file(lm).write_text(damaged)
        with pytest.raises(CliError, match="delete it, or tune again"):
            weights()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (DecodingOptions(lm_weight=1.0), "give --lm"),
        (DecodingOptions(lexicon=True), "give --lm"),
        (DecodingOptions(word_bonus=1.0), "give one of them"),
        (DecodingOptions(hot_words="nowhere", beam=0), "--beam 0"),
        (DecodingOptions(nbest=70), "--nbest 70: give a number from 0 to --beam, 64"),
        (DecodingOptions(nbest=-1), "--nbest -1"),
        (DecodingOptions(hot_words="nowhere"), "--hot_words nowhere cannot be read"),
        (DecodingOptions(lm="nowhere"), "--lm nowhere"),
    ],
)
def test_what_cannot_be_followed_is_said(options: DecodingOptions, message: str) -> None:
    with pytest.raises(CliError, match=message):
        open_decoder(options, VOCABULARY, None)


def test_without_flags_there_is_no_decoder() -> None:
    assert open_decoder(DecodingOptions(), VOCABULARY, None) == (None, [])
