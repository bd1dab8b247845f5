"""CSV files, paths and splits."""

from pathlib import Path

import pytest

from asrscale.errors import AudioError, CliError
from asrscale.sources import Row, audio_path, read_csv, split_by_sentence

SHARED = Path(__file__).parents[2] / "shared/data"


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def test_rows_with_their_lines_and_extra_columns(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv",
        'filename,text,up_votes,age\na.mp3,hello,1,\n\nb.mp3,"two\nlines, one comma",,teens\nc.mp3,last,3, \n',
    )
    assert read_csv(path) == [
        Row(2, path, "a.mp3", "hello", {"up_votes": "1"}),
        Row(4, path, "b.mp3", "two\nlines, one comma", {"age": "teens"}),
        Row(6, path, "c.mp3", "last", {"up_votes": "3"}),
    ]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_byte_order_mark_and_line_ends(tmp_path: Path, mark: bytes, newline: str) -> None:
    path = write(tmp_path / "a.csv", mark + newline.join(["text,filename", "été,a.mp3", ""]).encode())
    assert read_csv(path) == [Row(2, path, "a.mp3", "été", {})]


@pytest.mark.parametrize("row", ["a.mp3,hello,1", "a.mp3,hello,1,,"])
def test_empty_trailing_columns_of_the_header(tmp_path: Path, row: str) -> None:
    path = write(tmp_path / "a.csv", f"filename,text,up_votes,,\n{row}\n")
    assert read_csv(path) == [Row(2, path, "a.mp3", "hello", {"up_votes": "1"})]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: needs one column 'filename', the header has nothing"),
        ("\n \n", "line 1: needs one column 'filename', the header has nothing"),
        ("filename,text\n", "no rows"),
        ("path,text\na,b\n", "line 1: needs one column 'filename', the header has path, text"),
        ("filename,sentence\na,b\n", "line 1: needs one column 'text'"),
        ("filename,text,text\na,b,c\n", "line 1: needs one column 'text'"),
        ("filename,text,age\na,b,c\nd,e\n", "line 3: 2 fields where the header has 3"),
        ("filename,text\na,hello, world\n", "line 2: 3 fields where the header has 2"),
        ("filename,text,,\na,hello, world\n", "line 2: 3 fields where the header has 2"),
        ('filename,text\na,b\nc,"never closed\nd,e\n', "line 3: unexpected end of data"),
        (b"filename,text\na,b\nc,\xff\xfe\n", "line 3: not UTF-8"),
        ("filename,text\na,b\n".encode("utf-16"), "line 1: not UTF-8"),
    ],
)
def test_bad_files_are_refused_in_one_line_with_the_place(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = write(tmp_path / "a.csv", content)
    with pytest.raises(CliError) as caught:
        read_csv(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(path)
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.csv", tmp_path):
        with pytest.raises(CliError, match="give the path of a CSV file"):
            read_csv(str(path))


@pytest.mark.parametrize("audio", ["a.mp3", "clips/a.mp3", "clips/../a.mp3", "./a.mp3"])
def test_paths_inside_the_audio_root(tmp_path: Path, audio: str) -> None:
    path = audio_path(Row(2, "a.csv", audio, "", {}), str(tmp_path))
    assert Path(path).is_relative_to(tmp_path)
    assert audio_path(Row(2, "a.csv", path, "", {}), str(tmp_path)) == path  # absolute, but inside


@pytest.mark.parametrize("audio", ["../a.mp3", "clips/../../a.mp3", "/etc/passwd", "{root}-other/a.mp3"])
def test_paths_outside_the_audio_root(tmp_path: Path, audio: str) -> None:
    with pytest.raises(AudioError, match=r"^path outside the audio root: "):
        audio_path(Row(2, "a.csv", audio.format(root=tmp_path), "", {}), str(tmp_path))


def test_split_depends_on_the_normalised_sentence_and_the_seed() -> None:
    sentences = [f"sentence number {number}" for number in range(4_000)]
    splits = [split_by_sentence(sentence, 42, 0.3) for sentence in sentences]
    assert [split_by_sentence(f" {sentence.upper()}!", 42, 0.3) for sentence in sentences] == splits
    assert [split_by_sentence(sentence, 43, 0.3) for sentence in sentences] != splits
    # four standard deviations of a fair draw
    assert abs(splits.count("valid") / 4_000 - 0.3) < 4 * (0.3 * 0.7 / 4_000) ** 0.5


def test_split_is_the_same_everywhere_and_for_ever() -> None:
    words = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    letters = "".join(split_by_sentence(word, 42, 0.5)[0] for word in words)
    assert letters == "vttttttttv"


def test_a_larger_fraction_only_adds_to_valid() -> None:
    for number in range(500):
        if split_by_sentence(str(number), 1, 0.2) == "valid":
            assert split_by_sentence(str(number), 1, 0.3) == "valid"
    assert {split_by_sentence(str(number), 1, 0.0) for number in range(500)} == {"train"}


def test_real_common_voice_rows() -> None:
    path = SHARED / "common_voice_v1/cv-valid-dev.csv"
    if not path.exists():
        pytest.skip("../shared/data is not here")
    rows = read_csv(str(path))
    assert len(rows) == 4_076
    assert rows[0].audio == "cv-valid-dev/sample-000000.mp3"
    assert rows[0].extra == {"up_votes": "1", "down_votes": "0"}
    assert any("age" in row.extra for row in rows)
    by_sentence: dict[str, set[str]] = {}
    for row in rows:
        by_sentence.setdefault(row.text, set()).add(split_by_sentence(row.text, 42, 0.3))
    assert all(len(splits) == 1 for splits in by_sentence.values())
