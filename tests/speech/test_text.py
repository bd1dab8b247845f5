"""Normalisation and vocabularies."""

import string
import unicodedata

import pytest

from asrscale.common.errors import CliError
from asrscale.speech.frames import frames_needed
from asrscale.speech.normalisation import NORMALISATION_STEPS, normalise
from asrscale.speech.vocabulary import Vocabulary, build_vocabulary, vocabulary_from_dict

UPPER = Vocabulary(("[PAD]", "<s>", "</s>", "[UNK]", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"))


@pytest.mark.parametrize(
    ("raw", "normalised"),
    [
        ("Hello, World!", "hello world"),
        ("  a\t b\u00a0\n c ", "a b c"),
        ("don\u2019t don\u2018t don\u02bct don`t don\u00b4t don\uff07t", "don't " * 5 + "don't"),
        ("\u0149", "'n"),
        ("well-known", "well known"),
        ("\ufb01ne \uff21\uff22", "fine ab"),  # a ligature and full-width letters
        ("E\u0301te\u0301", "été"),
        ("Straße 24", "straße 24"),
        ("हिन्दी", "हिन्दी"),  # its vowel signs are marks
        ("日本 語。", "日本 語"),
        ("— … 🙂 |", ""),
        ("", ""),
    ],
)
def test_normalise(raw: str, normalised: str) -> None:
    assert normalise(raw) == normalised


def test_normalising_twice_changes_nothing_and_leaves_only_what_it_promises() -> None:
    for code in (*range(0x3000), *range(0xF900, 0x10000), *range(0x1F000, 0x1F200)):
        text = normalise(f"a{chr(code)}b{chr(code)}")
        assert normalise(text) == text
        assert all(character in "' " or unicodedata.category(character)[0] in "LMN" for character in text)
    assert len(NORMALISATION_STEPS) == len(set(NORMALISATION_STEPS))


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


@pytest.mark.parametrize(("labels", "frames"), [("", 0), ("a", 1), ("ab", 2), ("aab", 4), ("aaaa", 7), ([1, 1, 2], 4)])
def test_frames_that_ctc_needs(labels: str | list[int], frames: int) -> None:
    assert frames_needed(labels) == frames
