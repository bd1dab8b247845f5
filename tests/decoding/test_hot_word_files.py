from pathlib import Path

import pytest

from asrscale.common.errors import CliError
from asrscale.decoding.hot_word_files import DEFAULT_WEIGHT, read_hot_words
from asrscale.speech.normalisation import NEUTRAL, TextRules
from asrscale.speech.vocabulary import build_vocabulary

VOCABULARY = build_vocabulary("")


def test_hot_words_are_normalised_and_what_cannot_be_spelled_is_said(tmp_path: Path) -> None:
    file = tmp_path / "hot.txt"
    file.write_text("# names\nO’Neill\n\nNew York\t12.5\nZürich\t3\n...\n", encoding="utf-8")
    phrases, notes = read_hot_words(str(file), NEUTRAL, VOCABULARY)
    assert phrases == {"o'neill": DEFAULT_WEIGHT, "new york": 12.5}
    assert [note.partition(" is left out: ")[0][-6:] for note in notes] == ["line 5", "line 6"]
    assert "no token for ü" in notes[0]
    for content, message in (("ü\n", "no phrase"), ("bad\tmuch\n", "line 1: its weight 'much'"), ("a\tnan", "line 1")):
        file.write_text(content, encoding="utf-8")
        with pytest.raises(CliError, match=message):
            read_hot_words(str(file), NEUTRAL, VOCABULARY)


def test_phrases_are_normalised_as_the_transcripts_of_the_model(tmp_path: Path) -> None:
    """So that one written twice is one, and the last weight holds; a byte order mark is no letter."""
    file = tmp_path / "hot.txt"
    file.write_bytes("\ufeffNew York\t3\r\nnew  york\t-2\r\n".encode())
    assert read_hot_words(str(file), NEUTRAL, VOCABULARY) == ({"new york": -2.0}, [])
    kept_case = build_vocabulary("New York")
    phrases, _ = read_hot_words(str(file), TextRules(keep_case=True), kept_case)
    assert phrases.keys() >= {"New York"}


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_a_file_that_cannot_be_read_is_named(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "hot.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CliError, match=r"^--hot_words .*hot\.txt cannot be read: "):
        read_hot_words(str(file), NEUTRAL, VOCABULARY)
