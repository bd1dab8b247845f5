from pathlib import Path
from random import Random

import pytest
from helpers.kneser_ney import random_sentences

from asrscale.common.errors import CliError
from asrscale.decoding.exporting import export_language_model
from asrscale.decoding.hot_word_files import DEFAULT_WEIGHT, read_hot_words
from asrscale.decoding.options import DecodingOptions, Tuning, open_decoder, read_tuned, tuned_file, write_tuned
from asrscale.decoding.scoring import Weights
from asrscale.ngrams.assembling import build_model
from asrscale.ngrams.corpus import write_corpus
from asrscale.ngrams.model import NgramModel
from asrscale.ngrams.storage import MODEL_FILE, write_model
from asrscale.speech.normalisation import NEUTRAL
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


def test_an_exported_language_model_has_its_weights(model: NgramModel, tmp_path: Path) -> None:
    for weights in (Weights(2.0, 3.0), Weights(0.5, 1.0)):  # the second replaces the first
        tuning = Tuning(weights, 1.5)
        folder = export_language_model(model, str(tmp_path / "lm"), tuning, {}, tmp_path)
        decoder, _ = open_decoder(DecodingOptions(lm=str(folder)), VOCABULARY, None)
        assert decoder is not None and decoder.scorer.weights == weights and read_tuned(str(folder)) == tuning


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


def test_hot_words_are_normalised_and_what_cannot_be_spelled_is_said(tmp_path: Path) -> None:
    file = tmp_path / "hot.txt"
    file.write_text("# names\nO’Neill\n\nNew York\t12.5\nZürich\t3\n...\n", encoding="utf-8")
    phrases, notes = read_hot_words(str(file), NEUTRAL, VOCABULARY)
    assert phrases == {"o'neill": DEFAULT_WEIGHT, "new york": 12.5}
    assert [note.partition(" is left out: ")[0][-6:] for note in notes] == ["line 5", "line 6"]
    assert "no token for ü" in notes[0]
    for content, message in (("ü\n", "no phrase"), ("bad\tmuch\n", "line 1: its weight 'much'"), ("a\tnan", "line 1")):
        file.write_text(content, encoding="utf-8")
        with pytest.raises(CliError, match=message):
            read_hot_words(str(file), NEUTRAL, VOCABULARY)
