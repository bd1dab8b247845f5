from pathlib import Path
from random import Random

import numpy as np
import pytest
from helpers.kneser_ney import random_sentences
from safetensors.numpy import load_file, save_file

from asrscale.common.errors import CliError
from asrscale.ngrams.assembling import build_model
from asrscale.ngrams.corpus import write_corpus
from asrscale.ngrams.model import NgramModel
from asrscale.ngrams.storage import MODEL_FILE, open_model, read_model, write_model


@pytest.fixture
def model(tmp_path: Path) -> NgramModel:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return build_model(write_corpus(random_sentences(Random(1), 80), scratch / "ids"), 3, [0, 0, 0], scratch)[0]


def test_what_is_written_is_read_by_the_library_and_by_us(model: NgramModel, tmp_path: Path) -> None:
    write_model(model, tmp_path / MODEL_FILE)
    assert np.array_equal(load_file(tmp_path / MODEL_FILE)["keys"], model.keys)
    read = open_model(str(tmp_path))
    assert read.words == model.words and read.sizes == model.sizes
    assert read.log10_sentence(["a", "b", "z"]) == model.log10_sentence(["a", "b", "z"])


@pytest.mark.parametrize("change", ["shorter", "loop", "words", "missing"])
def test_a_damaged_file_is_one_line(change: str, model: NgramModel, tmp_path: Path) -> None:
    path = tmp_path / MODEL_FILE
    write_model(model, path)
    arrays = {name: array.copy() for name, array in load_file(path).items()}
    if change == "shorter":
        arrays["keys"] = arrays["keys"][:-1]
    elif change == "loop":
        arrays["suffixes"][-1] = len(arrays["suffixes"]) - 1
    elif change == "words":
        arrays["words"][0] = ord("x")
    else:
        del arrays["log10_backoffs"]
    save_file(arrays, path)
    with pytest.raises(CliError, match="is damaged"):
        read_model(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CliError, match="is damaged"):
        read_model(path)


@pytest.mark.parametrize(("name", "message"), [("nothing", "no such"), ("folder", "no ngrams"), ("lm.bin", "ARPA")])
def test_what_is_no_language_model_is_said(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "lm.bin").write_bytes(b"mmap lm")
    with pytest.raises(CliError, match=message):
        open_model(str(tmp_path / name))
