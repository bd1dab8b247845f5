from collections import Counter

import pytest
from helpers.sentences import LANGUAGES

from asrscale.results.deciding_metric import metric_of_texts, share_without_spaces
from asrscale.speech.normalisation import TextRules

WITHOUT_SPACES = {"ja", "km", "lo", "my", "th", "zh-CN", "zh-TW"}


def counts(*texts: str) -> Counter[str]:
    return Counter("".join(texts))


@pytest.mark.parametrize("language", LANGUAGES)
def test_characters_decide_in_the_languages_that_write_no_spaces_between_words(language: str) -> None:
    references = counts(*(right for _, right, _ in LANGUAGES[language]))
    assert metric_of_texts(references) == ("cer" if language in WITHOUT_SPACES else "wer")


def test_digits_spaces_and_punctuation_are_no_letters() -> None:
    assert share_without_spaces(counts("2024 年 12 月 31 日, ok?")) == 3 / 5
    assert share_without_spaces(counts("12:30 ...")) == 0 and metric_of_texts(counts("12:30 ...")) == "wer"
    assert metric_of_texts(counts()) == "wer"


def test_vowel_signs_and_tones_count_as_letters() -> None:
    assert share_without_spaces(counts("น้ำ")) == 1  # a letter, a tone and a vowel
    assert metric_of_texts(counts("น้ำabc")) == "wer"  # half of them
    assert metric_of_texts(counts("น้ำab")) == "cer"


def test_scripts_with_spaces_are_words() -> None:
    assert metric_of_texts(counts("안녕하세요 여러분")) == "wer"
    assert metric_of_texts(counts("བོད་སྐད་")) == "cer"


def test_most_letters_decide_where_languages_are_mixed() -> None:
    assert metric_of_texts(counts("我喜欢 python 和 rust 编程语言的人很多")) == "cer"
    assert metric_of_texts(counts("he said 你好 to all of them")) == "wer"


def test_labels_between_spaces_are_words_whatever_their_script() -> None:
    syllables, mixed = TextRules(form="characters"), [TextRules(form="characters"), TextRules(language="zh-cn")]
    assert metric_of_texts(counts("你 好 吗"), [syllables]) == "wer"
    assert metric_of_texts(counts("你 好 吗"), mixed) == "cer"
