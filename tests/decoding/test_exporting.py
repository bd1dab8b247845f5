import json
from pathlib import Path
from random import Random

import numpy as np
import pytest
from helpers.kneser_ney import random_sentences

from asrscale.decoding.exporting import export_language_model
from asrscale.decoding.options import DecodingOptions, Tuning, open_decoder, read_tuned
from asrscale.decoding.scoring import Weights
from asrscale.ngrams.assembling import build_model
from asrscale.ngrams.corpus import write_corpus
from asrscale.ngrams.model import NgramModel
from asrscale.ngrams.storage import DESCRIPTION_FILE, MODEL_FILE, open_model, read_description, write_model
from asrscale.speech.vocabulary import build_vocabulary

VOCABULARY = build_vocabulary("")


@pytest.fixture
def model(tmp_path: Path) -> NgramModel:
    (tmp_path / "lm").mkdir()
    model = build_model(write_corpus(random_sentences(Random(1), 80), tmp_path / "ids"), 3, [0, 0, 0], tmp_path)[0]
    write_model(model, tmp_path / "lm" / MODEL_FILE)
    return model


def test_an_exported_language_model_has_its_weights(model: NgramModel, tmp_path: Path) -> None:
    for weights in (Weights(2.0, 3.0), Weights(0.5, 1.0)):  # the second replaces the first
        tuning = Tuning(weights, 1.5)
        folder = export_language_model(model, str(tmp_path / "lm"), tuning, {}, tmp_path)
        decoder, _ = open_decoder(DecodingOptions(lm=str(folder)), VOCABULARY, None)
        assert decoder is not None and decoder.scorer.weights == weights and read_tuned(str(folder)) == tuning


def test_the_exported_folder_is_the_language_model_and_what_is_known_of_it(model: NgramModel, tmp_path: Path) -> None:
    (tmp_path / "lm" / DESCRIPTION_FILE).write_text('{"sentences": 80}')
    leftover = tmp_path / "model" / "asrscale_lm.partial"  # of an export that was killed
    leftover.mkdir(parents=True)
    (leftover / "half").write_text("")
    tuned = Tuning(Weights(0.5, 1.0), 2.0)
    folder = export_language_model(model, str(tmp_path / "lm"), tuned, {"data": "dev"}, tmp_path / "model")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["asrscale_lm"]
    assert read_description(folder) == {"sentences": 80}
    known = json.loads((folder / "decoding.json").read_text())
    assert known == {"lm_weight": 0.5, "word_bonus": 1.0, "temperature": 2.0, "data": "dev"}
    exported = open_model(str(folder))
    assert list(exported.words) == model.words and exported.sizes == model.sizes
    for name in ("keys", "suffixes", "log10_probabilities", "log10_backoffs"):
        assert np.array_equal(getattr(exported, name), getattr(model, name)), name
