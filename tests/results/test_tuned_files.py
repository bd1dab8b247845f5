import json
from pathlib import Path
from random import Random

import pytest
from helpers.kneser_ney import random_sentences

from asrscale.decoding.beam_search import Pruning
from asrscale.decoding.decoder import Decoder
from asrscale.decoding.options import read_tuned
from asrscale.decoding.scoring import Weights, build_scorer
from asrscale.model.recognizer import Recognizer
from asrscale.model.temperature import Temperatures, read_temperatures
from asrscale.ngrams.assembling import build_model
from asrscale.ngrams.corpus import write_corpus
from asrscale.ngrams.storage import MODEL_FILE, write_model
from asrscale.results.metrics import count_errors
from asrscale.results.tuned_files import keep_search, keep_temperatures
from asrscale.results.tuning import Tuned, TunedSearch
from asrscale.speech.vocabulary import build_vocabulary

GREEDY, AFTER = count_errors(["a b c d"], ["a x y d"]), count_errors(["a b c d"], ["a b y d"])


def tuned(temperature: float | None, of_search: float | None) -> Tuned:
    search = TunedSearch(Weights(0.5, 2.0), GREEDY, AFTER, of_search)
    return Tuned(100, GREEDY, temperature, search)


@pytest.fixture
def folder(tone_recognizer: Recognizer, tmp_path: Path) -> str:
    tone_recognizer.save_settings(tmp_path / "model")
    return str(tmp_path / "model")


def test_what_is_fitted_is_kept_and_what_is_not_is_said(folder: str) -> None:
    lines = keep_temperatures(folder, "dev", tuned(1.5, None), has_language_model=False)
    assert lines == [
        "confidences of a search without a language model cannot be calibrated on dev: fewer than 10 words are right, "
        "or wrong",
        f"confidences calibrated on 100 utterances of dev: temperature 1.5 of the best paths; kept in {folder}/"
        "asrscale_confidence.json",
    ]
    assert read_temperatures(folder) == Temperatures(1.5, 1.0)
    [line, _] = keep_temperatures(folder, "dev", tuned(None, 2.5), has_language_model=False)
    assert line.startswith("confidences of the best paths cannot be calibrated on dev")
    assert read_temperatures(folder) == Temperatures(1.5, 2.5)
    [line] = keep_temperatures(folder, "dev", tuned(3.0, 9.0), has_language_model=True)  # which keeps its own
    assert "search" not in line and read_temperatures(folder) == Temperatures(3.0, 2.5)
    [line] = keep_temperatures(folder, "dev", tuned(None, 9.0), has_language_model=True)
    assert "cannot be calibrated" in line and read_temperatures(folder) == Temperatures(3.0, 2.5)


@pytest.mark.parametrize("of_search", [4.0, None])
def test_weights_lie_beside_the_language_model_and_in_the_models_folder(
    of_search: float | None, folder: str, tmp_path: Path
) -> None:
    lm = tmp_path / "lm"
    lm.mkdir()
    model = build_model(write_corpus(random_sentences(Random(1), 80), tmp_path / "ids"), 2, [0, 0], tmp_path)[0]
    write_model(model, lm / MODEL_FILE)
    scorer, _ = build_scorer(build_vocabulary(""), model, Weights())
    decoder = Decoder(scorer, Pruning(8, 20.0, 10.0))
    lines = keep_search(folder, "dev", str(lm), decoder, tuned(1.5, of_search), "wer")
    assert "lm_weight 0.5, word_bonus 2" in lines[0] and "WER 25.00%, without a language model 50.00%" in lines[0]
    assert (lines[1] == f"kept in {lm}/decoding.json") == (of_search is not None)
    assert any("with the language model cannot be calibrated" in line for line in lines) == (of_search is None)
    for place in (lm, Path(folder, "asrscale_lm")):
        assert read_tuned(str(place)).weights == Weights(0.5, 2.0)
        assert read_tuned(str(place)).temperature == (of_search or 1.0)
        known = json.loads((place / "decoding.json").read_text())
        assert (known["greedy"], known["tuned"], known["metric"], known["data"]) == (0.5, 0.25, "wer", "dev")


def test_where_nothing_can_be_written_the_line_is_there_all_the_same(folder: str) -> None:
    Path(folder, "asrscale_confidence.json").mkdir()
    lines = keep_temperatures(folder, "dev", tuned(1.5, 2.5), has_language_model=False)
    assert "temperature 1.5 of the best paths, temperature 2.5 of a search" in lines[0]
    assert lines[1].startswith("warning: ") and "cannot be written" in lines[1] and "None" not in lines[1]
