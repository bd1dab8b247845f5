from asrscale.alignment.script import read_script
from asrscale.speech.normalisation import NEUTRAL
from asrscale.speech.vocabulary import build_vocabulary


def test_words_are_kept_as_they_are_written_and_spelled_as_the_model_does() -> None:
    vocabulary = build_vocabulary("abc")
    words = read_script("Well,\n\n \u2013 don\u2019t  ABC-ab!", NEUTRAL, vocabulary)
    assert [word.written for word in words] == ["Well,", "\u2013", "don\u2019t", "ABC-ab!"]
    assert [word.spoken for word in words] == ["well", "", "don't", "abc ab"]
    assert [len(word.labels) for word in words] == [4, 0, 5, 6]
    assert words[3].labels == tuple(vocabulary.encode("abc ab"))
