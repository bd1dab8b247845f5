"""Lines of text files."""

import gzip
from pathlib import Path

import pytest
from helpers.sources import refusal_of, rows_of, write

from asrscale.common.errors import CliError
from asrscale.sources.lines import MAX_LINE_BYTES, read_lines
from asrscale.sources.rows import Row


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
        ("filename,text\na,b\n".encode("utf-16"), "is UTF-16 text: convert it, as with iconv -f UTF-16 -t UTF-8"),
        ("filename,text\na,b\n".encode("utf-16-le"), "is not UTF-8 text"),
        (gzip.compress(b"filename,text\n" * 9999)[:-20], "a damaged gzip file"),
    ],
)
def test_other_encodings_are_refused_with_the_line(tmp_path: Path, content: bytes, message: str) -> None:
    assert message in refusal_of(write(tmp_path / "a.csv", content))


@pytest.mark.parametrize(
    "content",
    [
        b"filename,text\n" + b"x" * MAX_LINE_BYTES + b",a\n",
        gzip.compress(b"filename,text\n" + b"," * (1 << 28)),
        b'filename,text\na,"x\n",' + (b'"b' + b" " * 9_000 + b'\n",') * 1_000,  # one record
        b'{"audio_filepath": "a.wav", "text": "a"}\n' + b"[" * (1 << 24),
    ],
)
def test_a_line_that_would_fill_the_memory_is_refused(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "a.csv", content)
    assert f"{path} line 2: longer than 8,388,608 bytes" in refusal_of(path)


def test_gzipped_whatever_the_name(tmp_path: Path) -> None:
    content = "\ufefffilename,text\na.wav,été\n".encode()
    for name in ("a.csv.gz", "a.csv"):
        path = write(tmp_path / name, gzip.compress(content))
        assert rows_of(path) == [Row(2, path, "a.wav", "été", {})]


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="give the path of a CSV file"):
        rows_of(tmp_path / "absent.csv")
