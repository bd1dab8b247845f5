from pathlib import Path

import pytest
import torch
from helpers.models import untrained_recognizer
from transformers import AutoProcessor, Wav2Vec2ForCTC

from asrscale.model.pretrained import load_recognizer
from asrscale.model.recognizer import Recognizer
from asrscale.speech.normalisation import TextRules


@pytest.fixture(scope="module")
def tiny() -> Recognizer:
    return untrained_recognizer()


def test_a_saved_folder_is_stock_and_comes_back(tiny: Recognizer, tmp_path: Path) -> None:
    tiny.save(tmp_path / "model")
    again = load_recognizer(str(tmp_path / "model"))
    assert again.vocabulary == tiny.vocabulary
    stock = Wav2Vec2ForCTC.from_pretrained(tmp_path / "model").state_dict()
    assert all(torch.equal(value, stock[name]) for name, value in tiny.model.state_dict().items())
    assert AutoProcessor.from_pretrained(tmp_path / "model").tokenizer.get_vocab()["a"] == 1


def test_how_its_transcripts_were_normalised_comes_back_with_a_model(tmp_path: Path) -> None:
    recognizer = untrained_recognizer()
    assert recognizer.text_rules is None
    rules = TextRules(language="tr", keep_case=True)
    recognizer.record_text_rules(rules)
    recognizer.save(tmp_path)
    assert load_recognizer(str(tmp_path)).text_rules == rules
    assert Wav2Vec2ForCTC.from_pretrained(tmp_path).config.vocab_size == 30  # stock code takes no notice
