import gzip
from pathlib import Path

import pytest

from asrscale.common.errors import CliError
from asrscale.ngrams import sentences
from asrscale.ngrams.sentences import sentences_of_data_sets, sentences_of_files
from asrscale.speech.normalisation import TextRules


def test_lines_are_normalised_as_transcripts_are(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_bytes("\ufeffIt’s a Test!\n\n  \n...\nNo line end".encode())
    with gzip.open(tmp_path / "two.gz", "wb") as file:
        file.write("DIL ıssız\r\n".encode())
    files = [str(tmp_path / "one.txt"), str(tmp_path / "two.gz")]
    assert list(sentences_of_files(files)) == [["it's", "a", "test"], ["no", "line", "end"], ["dil", "ıssız"]]
    assert list(sentences_of_files(files[1:], TextRules(language="tr"))) == [["dıl", "ıssız"]]


def test_transcripts_of_a_data_set(tone_shards: Path) -> None:
    lines = list(sentences_of_data_sets([str(tone_shards / "valid"), str(tone_shards / "train")]))
    assert len(lines) > 10 and all(line and set("".join(line)) <= set("abdegiou") for line in lines)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"good\nb\xe4d\n", "line 2: not UTF-8.*iconv"),
        (b"long " * 100, "line 1: longer than"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_is_no_text_is_said(
    content: bytes | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sentences, "_LONGEST_LINE_BYTES", 100)
    if content is not None:
        (tmp_path / "text").write_bytes(content)
    with pytest.raises(CliError, match=message):
        list(sentences_of_files([str(tmp_path / "text")]))
