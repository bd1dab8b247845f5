"""Paths to words and text."""

from asrscale.speech.ctc_text import SpokenWord, text_of_path, words_of_path
from asrscale.speech.vocabulary import Vocabulary, build_vocabulary

VOCABULARY = Vocabulary(("a", "b", " ", "<s>", "|", "[UNK]", "[PAD]"), special=("<s>",))


def path_of(text: str, vocabulary: Vocabulary = VOCABULARY) -> list[int]:
    """A path of one frame each: letters, `_` for the blank, `?` for the unknown token, `<` for <s>."""
    signs = {"_": "[PAD]", "?": "[UNK]", "<": "<s>"}
    return [vocabulary.tokens.index(signs.get(sign, sign)) for sign in text]


def test_words_and_their_frames() -> None:
    assert words_of_path(path_of("_aa_ab|||b_"), VOCABULARY) == [SpokenWord("aab", 1, 6), SpokenWord("b", 9, 10)]
    assert words_of_path(path_of("|a|_|b|"), VOCABULARY) == [SpokenWord("a", 1, 2), SpokenWord("b", 5, 6)]
    assert words_of_path([], VOCABULARY) == words_of_path(path_of("__||_"), VOCABULARY) == []


def test_text_is_the_words_joined_by_single_spaces() -> None:
    assert text_of_path(path_of("|a|_|b|"), VOCABULARY) == "a b"
    assert text_of_path(path_of("a b"), VOCABULARY) == "a b"  # a token that is a space ends a word, too


def test_special_tokens_are_one_mark_each() -> None:
    assert text_of_path(path_of("a??_?b|?|<a"), VOCABULARY) == "a⁇⁇b ⁇ ⁇a"


def test_phones_stand_between_spaces() -> None:
    phones = build_vocabulary(["tʃ", "iː"], spaced=True)
    assert text_of_path([1, 1, 3, 1, 0, 2], phones) == "tʃ tʃ iː ⁇"


def test_small_letters_where_the_checkpoint_writes_them() -> None:
    vocabulary = Vocabulary(("A", "|", "[UNK]", "[PAD]"), lower_cased=True)
    assert text_of_path([0, 1, 0], vocabulary) == "a a"
