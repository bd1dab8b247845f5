from pathlib import Path

import pytest
from helpers.models import untrained_recognizer

from asrscale.common.errors import CliError
from asrscale.model.building import build_recognizer
from asrscale.model.pretrained import load_recognizer
from asrscale.model.recognizer import Recognizer


@pytest.fixture(scope="module")
def tiny() -> Recognizer:
    return untrained_recognizer()


def test_head_tokenizer_and_vocabulary_agree(tiny: Recognizer) -> None:
    assert tiny.model.lm_head.out_features == len(tiny.processor.tokenizer) == len(tiny.vocabulary.tokens)
    assert tiny.processor.tokenizer.get_vocab() == {token: i for i, token in enumerate(tiny.vocabulary.tokens)}
    text = "hello it's a dog"
    assert tiny.processor.tokenizer(text).input_ids == tiny.vocabulary.encode(text)


def test_a_vocabulary_that_cannot_be_read_never_resets_the_head(tiny: Recognizer, tmp_path: Path) -> None:
    tiny.save(tmp_path / "model")
    (tmp_path / "model" / "vocab.json").write_text("{")
    with pytest.raises(CliError, match=r"its vocab\.json cannot be loaded"):
        build_recognizer(str(tmp_path / "model"), "abc")


def test_a_head_that_does_not_fit_its_vocabulary_is_refused(tiny: Recognizer, tmp_path: Path) -> None:
    tiny.save(tmp_path / "model")
    vocab = tmp_path / "model" / "vocab.json"
    vocab.write_text(vocab.read_text().replace('"a": 1', '"a": 1, "é": 30'))
    with pytest.raises(CliError, match="do not belong together"):
        load_recognizer(str(tmp_path / "model"))


def test_a_model_for_another_sample_rate_is_refused(tiny: Recognizer, tmp_path: Path) -> None:
    tiny.save(tmp_path)
    config = tmp_path / "processor_config.json"
    config.write_text(config.read_text().replace("16000", "8000"))
    with pytest.raises(CliError, match="is for audio at 8000 Hz, the shards hold 16000 Hz"):
        load_recognizer(str(tmp_path))


def test_a_checkpoint_without_a_feature_extractor_gets_a_new_one(tiny: Recognizer, tmp_path: Path) -> None:
    tiny.save(tmp_path)
    (tmp_path / "processor_config.json").unlink()
    extractor = load_recognizer(str(tmp_path)).processor.feature_extractor
    assert extractor.sampling_rate == 16_000 and extractor.do_normalize
