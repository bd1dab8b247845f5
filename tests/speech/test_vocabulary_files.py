"""Vocabularies of checkpoints, and what is refused; tests/model/test_processors.py compares them with transformers."""

import json
from pathlib import Path
from typing import Any

import pytest

from asrscale.common.errors import CliError
from asrscale.speech.vocabulary import Vocabulary
from asrscale.speech.vocabulary_files import (
    checkpoint_languages,
    checkpoint_vocabulary,
    choose_language,
    read_vocabulary,
    vocabulary_from_dict,
)

LETTERS = ["a", "b", "|", "[UNK]", "[PAD]"]


def write_checkpoint(folder: Path, vocab: Any = LETTERS, **files: Any) -> Path:
    """A vocab.json, of a list or as it is, and other files by their names without .json."""
    folder.mkdir(exist_ok=True)
    ids = {token: id for id, token in enumerate(vocab)} if isinstance(vocab, list) else vocab
    for name, content in {"vocab": ids, **files}.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


SETTINGS = {
    "bos_token": None,
    "eos_token": None,
    "unk_token": "[UNK]",
    "pad_token": "[PAD]",
    "word_delimiter_token": "|",
}


def test_vocabulary_from_dict() -> None:
    ids = {token: id for id, token in enumerate(LETTERS)}
    assert vocabulary_from_dict(dict(reversed(ids.items())), "[PAD]", "[UNK]", "|") == Vocabulary(tuple(LETTERS))


@pytest.mark.parametrize(
    ("ids", "word"),
    [
        ({"[PAD]": 0, "[UNK]": 1, "|": 3}, "0 to 2"),
        ({"[PAD]": 0, "[UNK]": 1, "|": 1}, "0 to 2"),
        ({"[PAD]": 1, "[UNK]": 2, "|": 3}, "0 to 2"),
        ({"<pad>": 0, "[UNK]": 1, "|": 2}, r"'\[PAD\]'"),
        ({}, r"'\[PAD\]'"),
    ],
)
def test_vocabulary_from_dict_refuses(ids: dict[str, int], word: str) -> None:
    with pytest.raises(CliError, match=word):
        vocabulary_from_dict(ids, "[PAD]", "[UNK]", "|")


@pytest.mark.parametrize(("blank", "unknown"), [("[PAD]", "[UNK]"), ("<pad>", "<unk>")])
def test_a_vocab_json_may_have_either_spelling_of_its_special_tokens(blank: str, unknown: str, tmp_path: Path) -> None:
    path = tmp_path / "vocab.json"
    path.write_text(json.dumps({blank: 0, unknown: 1, "|": 2, "a": 3}))
    assert read_vocabulary(str(path)) == Vocabulary((blank, unknown, "|", "a"), blank, unknown)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[1]", "holds no JSON object of tokens and their ids"),
        ('{"a": "b"}', "holds no JSON object of tokens and their ids"),
        ('{"a": 0}', "has no token for the blank: name it as pad_token in its tokenizer_config.json"),
        (None, "no such file or folder"),
    ],
)
def test_a_file_that_is_no_vocabulary_is_refused(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "vocab.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(CliError, match=message):
        read_vocabulary(str(path))


@pytest.mark.parametrize(
    ("files", "vocabulary"),
    [
        ({}, Vocabulary(tuple(LETTERS))),  # nothing but vocab.json
        ({"tokenizer_config": SETTINGS}, Vocabulary(tuple(LETTERS))),
        ({"special_tokens_map": {"pad_token": {"content": "[PAD]"}, "unk_token": "[UNK]", "bos_token": None}},
         Vocabulary(tuple(LETTERS))),
        ({"tokenizer_config": SETTINGS | {"bos_token": "<s>", "eos_token": "</s>"}, "config": {"vocab_size": 5}},
         Vocabulary(tuple(LETTERS))),  # behind the head: can never be said
        ({"tokenizer_config": SETTINGS | {"bos_token": "<s>", "eos_token": "</s>"}, "config": {"vocab_size": 7}},
         Vocabulary((*LETTERS, "<s>", "</s>"), special=("<s>", "</s>"))),
        ({"tokenizer_config": SETTINGS | {"added_tokens_decoder": {"5": {"content": "</s>"}}, "eos_token": "</s>"},
          "config": {"vocab_size": 6}}, Vocabulary((*LETTERS, "</s>"), special=("</s>",))),
        ({"tokenizer_config": SETTINGS, "added_tokens": {"<x>": 5}, "config": {"vocab_size": 6}},
         Vocabulary((*LETTERS, "<x>"))),
        ({"tokenizer_config": SETTINGS | {"do_lower_case": True}}, Vocabulary(tuple(LETTERS), lower_cased=True)),
        ({"tokenizer_config": SETTINGS | {"tokenizer_class": "Wav2Vec2PhonemeCTCTokenizer"}},
         Vocabulary(tuple(LETTERS), spaced=True)),
    ],
)  # fmt: skip
def test_special_tokens_are_those_of_the_folder(files: dict[str, Any], vocabulary: Vocabulary, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", **files)
    assert checkpoint_vocabulary(str(folder)) == vocabulary
    assert read_vocabulary(str(folder)) == vocabulary
    if "config" not in files:
        assert read_vocabulary(str(folder / "vocab.json")) == vocabulary  # what lies beside it counts


def test_a_head_without_delimiter_or_unknown_token(tmp_path: Path) -> None:
    files = {"tokenizer_config": SETTINGS, "config": {"vocab_size": 3}}
    folder = write_checkpoint(tmp_path, ["你", "好", "[PAD]"], **files)
    assert checkpoint_vocabulary(str(folder)) == Vocabulary(("你", "好", "[PAD]"), unknown="", word_delimiter="")
    folder = write_checkpoint(tmp_path, ["a", " ", "[PAD]"], **files)
    assert checkpoint_vocabulary(str(folder)) == Vocabulary(("a", " ", "[PAD]"), unknown="", word_delimiter=" ")


def test_a_vocabulary_for_many_languages(tmp_path: Path) -> None:
    nested = {"tur": {"[PAD]": 0, "ı": 1}, "deu": {"[PAD]": 0, "ß": 1}}
    folder = str(write_checkpoint(tmp_path, nested, tokenizer_config={"pad_token": "[PAD]", "target_lang": "tur"}))

    def tokens(language: str = "") -> tuple[str, ...]:
        return read_vocabulary(folder, language).tokens

    assert tokens("tr")[1] == tokens("tur")[1] == "ı"
    assert tokens("de")[1] == tokens("deu")[1] == tokens("de-at")[1] == "ß"
    assert checkpoint_languages(folder) == nested
    named = rf"^--vocab {folder}: "
    with pytest.raises(
        CliError, match=rf"{named}none of its 2 languages is kab: give --language with one of deu, tur$"
    ):
        tokens("kab")
    message = rf"{named}it has a vocabulary for each of 2 languages: give --language with one of deu, tur$"
    with pytest.raises(CliError, match=message):
        tokens()  # target_lang is what somebody had set last, and English in the MMS of the hub


def test_a_language_of_many_is_asked_for_where_it_has_several_scripts_and_is_clear_where_there_is_one_only() -> None:
    codes = ["azj-script_cyrillic", "azj-script_latin", "eng"]
    assert choose_language(codes, "az-Latn") == "azj-script_latin" and choose_language(codes, "tr") is None
    assert choose_language(["tur"], "") == "tur"
    with pytest.raises(CliError, match=r"^--language az may be azj-script_cyrillic or azj-script_latin: give one of"):
        choose_language(codes, "az")
    many = [f"a{number:03}" for number in range(1162)]
    with pytest.raises(CliError, match=r"each of 1,162 languages: .* a000, .* a099 and 1,062 more in its vocab\.json$"):
        choose_language(many, "")


def test_the_head_of_a_language_has_a_size_of_its_own(tmp_path: Path) -> None:
    """That in config.json, and the added tokens, are those of the language that was loaded last."""
    nested = {"tur": {"[PAD]": 0, "|": 1, "a": 2, "ı": 3, "<s>": 4}, "eng": {"[PAD]": 0, "|": 1, "a": 2}}
    settings = {"pad_token": "[PAD]", "target_lang": "eng", "added_tokens_decoder": {"3": {"content": "x"}}}
    folder = str(write_checkpoint(tmp_path, nested, tokenizer_config=settings, config={"vocab_size": 3}))
    vocabulary = checkpoint_vocabulary(folder, "tur")
    assert vocabulary is not None and vocabulary.tokens == ("[PAD]", "|", "a", "ı", "<s>")


def test_what_is_no_checkpoint_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CliError, match=r"empty has no vocab\.json: give a model that was fine-tuned"):
        read_vocabulary(str(tmp_path / "empty"))
    with pytest.raises(CliError, match=r"--vocab absent\.json: no such file or folder: give a model folder, an id of"):
        read_vocabulary("absent.json")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CliError, match=r"cannot be read .* as with hf download nobody/nothing --local-dir FOLDER"):
        read_vocabulary("nobody/nothing")
    folder = write_checkpoint(tmp_path / "bad", tokenizer_config=[1])
    with pytest.raises(CliError, match=r"tokenizer_config\.json holds no JSON object"):
        read_vocabulary(str(folder))


def test_a_language_whose_code_is_a_path_is_refused(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", {"tur": {"a": 0}, "../../private": {"a": 0}})
    with pytest.raises(ValueError, match="is no code of a language"):
        checkpoint_languages(str(folder))
