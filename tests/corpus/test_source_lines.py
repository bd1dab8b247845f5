"""Lines of text files."""

from pathlib import Path

import pytest
from helpers.sources import refusal_of, rows_of, write

from asrscale.common.errors import CliError
from asrscale.corpus.rows import Row
from asrscale.corpus.source_lines import read_lines


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_byte_order_mark_and_line_ends(tmp_path: Path, mark: bytes, newline: str) -> None:
    path = write(tmp_path / "a.csv", mark + newline.join(["text,filename", "été,a.mp3", ""]).encode())
    assert list(read_lines(path)) == [f"text,filename{newline}", f"été,a.mp3{newline}"]
    assert rows_of(path) == [Row(2, path, "a.mp3", "été", {})]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"filename,text\na,b\nc,\xff\xfe\n", "line 3: not UTF-8"),
        ("filename,text\na,b\n".encode("utf-16"), "line 1: not UTF-8"),
    ],
)
def test_other_encodings_are_refused_with_the_line(tmp_path: Path, content: bytes, message: str) -> None:
    assert message in refusal_of(write(tmp_path / "a.csv", content))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="give the path of a CSV file"):
        rows_of(tmp_path / "absent.csv")
