"""Texts to labels, and which vocabularies are refused."""

import json
import string
from pathlib import Path

import pytest

from asrscale.common.errors import CliError
from asrscale.speech.vocabulary import Vocabulary, build_vocabulary, read_vocabulary, vocabulary_from_dict

UPPER = Vocabulary(("[PAD]", "<s>", "</s>", "[UNK]", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"))


def test_build_vocabulary_is_the_standard_one_for_a_small_corpus() -> None:
    vocabulary = build_vocabulary("no")
    assert vocabulary.tokens == ("'", *string.ascii_lowercase, "|", "[UNK]", "[PAD]")
    assert (vocabulary.unknown_id, vocabulary.blank_id, vocabulary.case) == (28, 29, "lower")


def test_build_vocabulary_sorts_further_characters_and_takes_whole_texts() -> None:
    vocabulary = build_vocabulary(["größe | 1", "été"])
    assert vocabulary.tokens[27:] == ("1", "ß", "é", "ö", "|", "[UNK]", "[PAD]")
    assert build_vocabulary(["été", "größe 1"]) == vocabulary


def test_encode_lower_and_upper() -> None:
    lower = build_vocabulary("")
    assert lower.encode("it's a") == [9, 20, 0, 19, 27, 1]
    assert [UPPER.tokens[id] for id in UPPER.encode("it's é")] == ["I", "T", "'", "S", "|", "[UNK]"]
    assert lower.encode("") == []


def test_unknown_characters_are_counted_as_the_vocabulary_would_spell_them() -> None:
    assert UPPER.unknown_characters("ete été 1") == {"É": 2, "1": 1}
    assert UPPER.unknown_characters("it is") == {}
    assert len(UPPER.encode("straße")) == len("STRASSE")


@pytest.mark.parametrize(
    ("letters", "case"), [("abc", "lower"), ("ABC", "upper"), ("aB", "as_is"), ("12", "as_is"), ("日", "as_is")]
)
def test_case(letters: str, case: str) -> None:
    assert Vocabulary((*letters, "|", "[UNK]", "[PAD]")).case == case


def test_as_is_keeps_the_case() -> None:
    assert Vocabulary((*"aB", "|", "[UNK]", "[PAD]")).encode("aB b") == [0, 1, 2, 3]


def test_a_blank_of_one_character_never_becomes_a_label() -> None:
    vocabulary = Vocabulary(("-", "|", "[UNK]", "a"), blank="-")
    assert vocabulary.encode("a-a|a") == [3, 2, 3, 2, 3]
    assert vocabulary.unknown_characters("a-a") == {"-": 1}


def test_vocabulary_from_dict() -> None:
    ids = {token: id for id, token in enumerate(UPPER.tokens)}
    assert vocabulary_from_dict(dict(reversed(ids.items())), "[PAD]", "[UNK]", "|") == UPPER


@pytest.mark.parametrize(
    ("ids", "word"),
    [
        ({"[PAD]": 0, "[UNK]": 1, "|": 3}, "0 to 2"),
        ({"[PAD]": 0, "[UNK]": 1, "|": 1}, "0 to 2"),
        ({"[PAD]": 1, "[UNK]": 2, "|": 3}, "0 to 2"),
        ({"<pad>": 0, "[UNK]": 1, "|": 2}, r"'\[PAD\]'"),
        ({"[PAD]": 0, "<unk>": 1, "|": 2}, r"'\[UNK\]'"),
        ({"[PAD]": 0, "[UNK]": 1, " ": 2}, r"'\|'"),
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
        ('{"a": 0}', r"has no token '<pad>' for blank: add it to its vocab\.json"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_is_no_vocabulary_is_refused(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "vocab.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(CliError, match=message):
        read_vocabulary(str(path))


def test_an_id_of_the_hub_is_to_be_downloaded_first() -> None:
    with pytest.raises(CliError, match="as with hf download facebook/wav2vec2-base-960h --local-dir FOLDER, and give"):
        read_vocabulary("facebook/wav2vec2-base-960h")
    with pytest.raises(CliError, match=r"no such file\): give the path of a vocab.json$"):
        read_vocabulary("model/vocab.json")


def test_twins_are_found_across_cases_and_by_role() -> None:
    lower = build_vocabulary("ß")
    twins = lower.twins(UPPER)
    assert {lower.tokens[own]: UPPER.tokens[there] for own, there in twins.items()} == {
        "'": "'",
        **{letter: letter.upper() for letter in string.ascii_lowercase},
        "|": "|",
        "[UNK]": "[UNK]",
        "[PAD]": "[PAD]",
    }
    assert lower.tokens.index("ß") not in twins  # its upper case is two letters
