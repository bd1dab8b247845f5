"""Texts to labels, in the form that a vocabulary has."""

import string
import unicodedata

import pytest

from asrscale.speech.vocabulary import Vocabulary, build_vocabulary

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


def spelled(vocabulary: Vocabulary, text: str) -> str:
    """The tokens of a text's labels, between bars."""
    return "/".join(vocabulary.tokens[id] for id in vocabulary.encode(text))


def vocabulary_of(*texts: str) -> Vocabulary:
    return Vocabulary((*texts, "|", "[UNK]", "[PAD]"))


GERMAN = vocabulary_of(*"'ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÜß")
TURKISH = vocabulary_of(*"ABCÇDEFGĞHIİJKLMNOÖPRSŞTUÜVYZ")
DECOMPOSED = vocabulary_of(*sorted(set(unicodedata.normalize("NFD", "aáàeéèẹ́ọ̀bcdn"))))


@pytest.mark.parametrize(
    ("vocabulary", "text", "labels"),
    [
        (GERMAN, "straße äh", "S/T/R/A/ß/E/|/Ä/H"),  # one small letter does not make the case unknown
        (UPPER, "maß", "M/A/S/S"),  # no sharp s at all
        (TURKISH, "ışık", "I/Ş/I/K"),
        (TURKISH, "istanbul", "İ/S/T/A/N/B/U/L"),
        (UPPER, "ışık", "[UNK]/[UNK]/[UNK]/K"),  # its I is that of i: the letters must not fall together
        (UPPER, "istik", "I/S/T/I/K"),
        (DECOMPOSED, "bẹ́ dé", "b/e/\u0323/\u0301/|/d/e/\u0301"),
        (DECOMPOSED, "ñ", "[UNK]"),  # one unknown letter, not a letter and an unknown mark
        (vocabulary_of("e", "é"), "é e\u0301 e", "é/|/é/|/e"),
        (vocabulary_of("\u09df", "হ"), "হ\u09af\u09bc", "হ/\u09df"),  # not in NFC
        (vocabulary_of("e\u0301", "t"), "été", "e\u0301/t/e\u0301"),  # one token of two characters
        (vocabulary_of("’", "a"), "a'a", "a/’/a"),
        (vocabulary_of("'", "o"), "o\u02bbo", "o/'/o"),
        (vocabulary_of("׳", "ג"), "ג׳", "ג/׳"),
        (vocabulary_of("'", '"', "ג", "צ"), "ג׳צ״ג", "ג/'/צ/\"/ג"),
        (vocabulary_of("σ", "ο"), "οσ ος", "ο/σ/|/ο/σ"),  # no final sigma
        (vocabulary_of("Σ", "Ο"), "ος", "Ο/Σ"),
        (vocabulary_of("t", "tʰ", "æ", "æ̃", "a"), "tʰæ̃ta", "tʰ/æ̃/t/a"),
        (vocabulary_of("C", "H", "CH", "A", "Z"), "chaz", "CH/A/Z"),  # digraphs in capitals
        (vocabulary_of("c", "ch", "chh"), "chchhc", "ch/chh/c"),
    ],
)
def test_labels_have_the_form_of_the_vocabulary(vocabulary: Vocabulary, text: str, labels: str) -> None:
    assert spelled(vocabulary, text) == labels
    unknown = vocabulary.unknown_characters(text)
    assert unknown.total() == labels.split("/").count("[UNK]")


def test_case_is_that_of_most_letters() -> None:
    assert (GERMAN.case, TURKISH.case, vocabulary_of("A", "B", "ı").case) == ("upper", "upper", "upper")
    assert vocabulary_of(*string.ascii_lowercase, *"ABC").encode("aA") == [0, 26]  # both are there: as typed


def test_phones_between_spaces_are_labels_and_the_space_is_none() -> None:
    vocabulary = build_vocabulary(["tʃ", "iː", "t"], spaced=True)
    assert vocabulary.tokens == ("iː", "t", "tʃ", "[UNK]", "[PAD]")
    assert vocabulary.encode("tʃ iː  t x") == [2, 0, 1, 3]
    assert vocabulary.unknown_characters("tʃ x x") == {"x": 2}
    assert vocabulary.twins(build_vocabulary(["t"], spaced=True)) == {1: 0, 3: 1, 4: 2}


def test_a_head_without_delimiter_and_unknown_token() -> None:
    vocabulary = Vocabulary(("你", "好", "[PAD]"), unknown="", word_delimiter="")
    assert vocabulary.encode("你x好 你") == [0, 1, 0]
    assert vocabulary.unknown_characters("你x好 你") == {"x": 1, " ": 1}
    assert (vocabulary.unknown_id, vocabulary.delimiter_id, vocabulary.any_label_id) == (None, None, 0)
    assert Vocabulary(("[PAD]", "a"), unknown="", word_delimiter="").any_label_id == 1


def test_special_tokens_are_no_text() -> None:
    vocabulary = Vocabulary(("<s>", "</s>", "s", "<", ">", "|", "[UNK]", "[PAD]"), special=("<s>", "</s>"))
    assert vocabulary.encode("<s>") == [3, 2, 4]
    assert vocabulary.special_ids == {0, 1, 6}


def test_the_representation_is_that_of_former_versions() -> None:
    """dataset.json hashes it: folders that were built for a checkpoint must not count as built for another."""
    vocabulary = Vocabulary(("a", "[PAD]"), special=("<s>",), spaced=True, lower_cased=True)
    assert repr(vocabulary) == "Vocabulary(tokens=('a', '[PAD]'), blank='[PAD]', unknown='[UNK]', word_delimiter='|')"
