import pytest

from asrscale.ngrams.tokens import words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("it's a test", ["it's", "a", "test"]),
        ("naïve café", ["naïve", "café"]),
        ("今天好", ["今", "天", "好"]),
        ("カー用 wifi 上网", ["カ", "ー", "用", "wifi", "上", "网"]),
        ("กำลัง", ["ก", "ำ", "ล", "ั", "ง"]),
        ("a <s> b </s> <unk>", ["a", "b"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("", []),
    ],
)
def test_words_stand_between_spaces_and_letters_of_unspaced_scripts_alone(text: str, words: list[str]) -> None:
    assert words_of(text) == words
