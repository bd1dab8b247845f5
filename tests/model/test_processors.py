import json
import string
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.models import untrained_recognizer
from transformers import AutoTokenizer

from asrscale.common.errors import CliError
from asrscale.model.building import build_recognizer
from asrscale.model.pretrained import load_recognizer
from asrscale.model.processors import new_processor
from asrscale.model.recognizer import Recognizer
from asrscale.speech.characters import UNKNOWN_MARK
from asrscale.speech.ctc_text import text_of_path
from asrscale.speech.vocabulary import Vocabulary
from asrscale.speech.vocabulary_files import checkpoint_vocabulary


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
    config = tmp_path / "preprocessor_config.json"
    config.write_text(config.read_text().replace("16000", "8000"))
    with pytest.raises(CliError, match="is for audio at 8000 Hz, the shards hold 16000 Hz"):
        load_recognizer(str(tmp_path))


def test_a_checkpoint_without_a_feature_extractor_gets_a_new_one(tiny: Recognizer, tmp_path: Path) -> None:
    tiny.save(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    extractor = load_recognizer(str(tmp_path)).processor.feature_extractor
    assert extractor.sampling_rate == 16_000 and extractor.do_normalize


LETTERS = [*"'abcdefghijklmnopqrstuvwxyz", "|", "[UNK]", "[PAD]"]
CAPITALS = [letter.upper() for letter in LETTERS[:27]] + LETTERS[27:]
NAMED = {"bos_token": None, "eos_token": None, "unk_token": "[UNK]", "pad_token": "[PAD]", "word_delimiter_token": "|"}
IPA = ["t", "tʰ", "æ", "æ̃", "a", "iː"]

# Forms that public checkpoints have: tokens, settings of the tokenizer, size of the head.
CHECKPOINTS: dict[str, tuple[list[str], dict[str, Any], int]] = {
    "letters": (LETTERS, NAMED, 30),
    "sharp s among capitals": ([*"ÄÖÜß", *CAPITALS], NAMED, 34),
    "spaces are cleaned up": (LETTERS, NAMED | {"clean_up_tokenization_spaces": True}, 30),
    "lower case wanted": (CAPITALS, NAMED | {"do_lower_case": True}, 30),
    "<s> and </s> behind the head": (LETTERS, {"pad_token": "[PAD]", "unk_token": "[UNK]"}, 30),
    "<s> and </s> in the head": (LETTERS, {"pad_token": "[PAD]", "unk_token": "[UNK]"}, 32),
    "fairseq's names": (["<s>", "<pad>", "</s>", "<unk>", "|", *string.ascii_uppercase], {"do_lower_case": False}, 31),
    "no word delimiter": ([*"你好世界", "[UNK]", "[PAD]"], NAMED, 6),
    "no unknown token": ([*LETTERS[:28], "[PAD]"], NAMED, 29),
    "tokens of several characters": ([*IPA, "|", "[UNK]", "[PAD]"], NAMED, 9),
    "decomposed": ([*sorted(set(unicodedata.normalize("NFD", "aáàeéèẹ́ọ̀bcd"))), "|", "[UNK]", "[PAD]"], NAMED, None),
    "curly apostrophe": (["’", *LETTERS[1:]], NAMED, 30),
    "a token that is a space": ([*"abc", " ", "|", "[UNK]", "[PAD]"], NAMED, 7),
    "other names": ([*LETTERS[:28], "<X>", "<B>"], NAMED | {"pad_token": "<B>", "unk_token": "<X>"}, 30),
    "special tokens as objects": (LETTERS, NAMED | {"pad_token": {"content": "[PAD]", "__type": "AddedToken"}}, 30),
    "phones": ([*IPA, "<unk>", "<pad>"], {"tokenizer_class": "Wav2Vec2PhonemeCTCTokenizer", "bos_token": None,
                                         "eos_token": None, "do_phonemize": False}, 8),
}  # fmt: skip


@pytest.mark.parametrize("form", CHECKPOINTS)
def test_text_is_that_of_transformers_and_so_is_that_of_the_tokenizer_that_is_exported(
    form: str, tmp_path: Path
) -> None:
    tokens, settings, head_size = CHECKPOINTS[form]
    settings = {"tokenizer_class": "Wav2Vec2CTCTokenizer"} | settings
    (tmp_path / "vocab.json").write_text(json.dumps({token: id for id, token in enumerate(tokens)}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "wav2vec2", "vocab_size": head_size or len(tokens)})
    )
    stock = AutoTokenizer.from_pretrained(tmp_path)
    vocabulary = checkpoint_vocabulary(str(tmp_path))
    assert vocabulary is not None and len(vocabulary.tokens) == (head_size or len(tokens))
    exported = new_processor(vocabulary, untrained_recognizer().model.config).tokenizer

    rng = np.random.default_rng(0)
    for _ in range(20):
        path = rng.integers(0, len(vocabulary.tokens), 40).repeat(rng.integers(1, 3, 40)).tolist()
        ours = text_of_path(path, vocabulary)
        for tokenizer in (stock, exported):
            theirs = tokenizer.decode(path, clean_up_tokenization_spaces=False)
            for name in (vocabulary.unknown, *vocabulary.special):
                theirs = (
                    theirs.replace(name.lower() if vocabulary.lower_cased else name, UNKNOWN_MARK) if name else theirs
                )
            assert ours == " ".join(theirs.split())


def test_what_a_tokenizer_does_to_a_text_is_not_exported(tiny: Recognizer, tmp_path: Path) -> None:
    tiny.save(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"clean_up_tokenization_spaces": True}))
    kom_s_avonds = [
        id for letter in "kom 's avonds" for id in (*tiny.vocabulary.encode(letter), tiny.vocabulary.blank_id)
    ]
    assert AutoTokenizer.from_pretrained(tmp_path).decode(kom_s_avonds) == "kom's avonds"  # which is the fault
    loaded = load_recognizer(str(tmp_path))
    assert text_of_path(kom_s_avonds, loaded.vocabulary) == "kom 's avonds"
    assert loaded.processor.tokenizer.decode(kom_s_avonds) == "kom 's avonds"


def test_phones_are_exported_as_a_tokenizer_of_phones(tmp_path: Path) -> None:
    recognizer = build_recognizer("tiny", ["tʃ", "iː", "t"], spaced=True)
    recognizer.save(tmp_path)
    loaded = load_recognizer(str(tmp_path))
    assert (
        loaded.vocabulary
        == recognizer.vocabulary
        == Vocabulary(("iː", "t", "tʃ", "[UNK]", "[PAD]"), word_delimiter="", spaced=True)
    )
    ids = recognizer.vocabulary.encode("tʃ iː t")
    assert AutoTokenizer.from_pretrained(tmp_path).decode(ids) == text_of_path(ids, loaded.vocabulary) == "tʃ iː t"
