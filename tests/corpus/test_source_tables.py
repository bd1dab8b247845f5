"""CSV, TSV and LJSpeech's metadata.csv to rows."""

from pathlib import Path

import pytest
from helpers.sources import refusal_of, root_of, rows_of, write

from asrscale.corpus.rows import Row


def test_rows_with_their_lines_and_extra_columns(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv",
        'filename,text,up_votes,age\na.mp3,hello,1,\n\nb.mp3,"two\nlines, one comma",,teens\nc.mp3,last,3, \n',
    )
    assert rows_of(path) == [
        Row(2, path, "a.mp3", "hello", {"up_votes": "1"}),
        Row(4, path, "b.mp3", "two\nlines, one comma", {"age": "teens"}),
        Row(6, path, "c.mp3", "last", {"up_votes": "3"}),
    ]


@pytest.mark.parametrize("row", ["a.mp3,hello,1", "a.mp3,hello,1,,"])
def test_empty_trailing_columns_of_the_header(tmp_path: Path, row: str) -> None:
    path = write(tmp_path / "a.csv", f"filename,text,up_votes,,\n{row}\n")
    assert rows_of(path) == [Row(2, path, "a.mp3", "hello", {"up_votes": "1"})]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: needs one column 'filename', the header has nothing"),
        ("\n \n", "line 1: needs one column 'filename', the header has nothing"),
        ("filename,text\n", "no rows"),
        ("clip,text\na,b\n", "line 1: needs one column 'filename', the header has clip, text"),
        ("filename,caption\na,b\n", "line 1: needs one column 'text'"),
        ("filename,text,text\na,b,c\n", "line 1: needs one column 'text'"),
        ("filename,text,age\na,b,c\nd,e\n", "line 3: 2 fields where the header has 3"),
        ("filename,text\na,hello, world\n", "line 2: 3 fields where the header has 2"),
        ("filename,text,,\na,hello, world\n", "line 2: 3 fields where the header has 2"),
        ('filename,text\na,b\nc,"never closed\nd,e\n', "line 3: unexpected end of data"),
        ("filename,text,duration\na,b,1.5\nc,d,0:03\n", "line 3: duration '0:03' is no number of seconds"),
        ("path\tsentence\na\tb\nc\n", "line 3: 1 fields where the header has 2"),
        ("id|a|b|c\n", "line 1: 4 fields between bars"),
    ],
)
def test_bad_tables_are_refused_in_one_line_with_the_place(tmp_path: Path, content: str, message: str) -> None:
    assert message in refusal_of(write(tmp_path / "a.csv", content))


def test_common_voice_tsv_has_no_quotes_and_its_audio_in_clips(tmp_path: Path) -> None:
    path = write(
        tmp_path / "validated.tsv",
        'client_id\tpath\tsentence\tup_votes\tage\nab\tx.mp3\t"Hi", he said.\t2\t\ncd\ty.mp3\tone "two\t3\tteens\n',
    )
    assert rows_of(path) == [
        Row(2, path, "x.mp3", '"Hi", he said.', {"client_id": "ab", "up_votes": "2"}),
        Row(3, path, "y.mp3", 'one "two', {"client_id": "cd", "up_votes": "3", "age": "teens"}),
    ]
    assert [row.speaker for row in rows_of(path)] == ["ab", "cd"]
    assert root_of(path) == str(tmp_path / "clips")


def test_ljspeech(tmp_path: Path) -> None:
    path = write(tmp_path / "metadata.csv", 'LJ1|In 1984, "he"|In nineteen, "he"\nLJ2|plain|\nLJ3|two fields\n')
    texts = ['In nineteen, "he"', "plain", "two fields"]
    for source in (path, tmp_path):  # the file or its folder
        expected = [Row(n, path, f"LJ{n}.wav", text, {}) for n, text in enumerate(texts, start=1)]
        assert rows_of(source) == expected
        assert root_of(source) == str(tmp_path / "wavs")


def test_speakers_between_bars_are_no_transcripts(tmp_path: Path) -> None:
    path = write(tmp_path / "metadata.csv", "u0|the first sentence|anna\nu1|the second sentence|ben\nu2|a third one|\n")
    assert [(row.text, row.speaker) for row in rows_of(path)] == [
        ("the first sentence", "anna"),
        ("the second sentence", "ben"),
        ("a third one", None),
    ]


def test_all_mistakes_of_a_kind_are_counted(tmp_path: Path) -> None:
    lines = ["filename,text", *(f"{n}.wav,hello" for n in range(10)), *(f"{n}.wav,one, two" for n in range(9)), "x"]
    refusal = refusal_of(write(tmp_path / "a.csv", "\n".join(lines)))
    assert "line 12: 3 fields where the header has 2: complete the row" in refusal
    assert refusal.endswith(" (9 more lines of this kind: 13, 14, 15, 16, 17, …)")


def test_times_make_segments(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "filename,text,start,end\na.wav,one,0.0,3.0\na.wav,two,3.0,7.0\nb.wav,whole,,\n")
    assert [row.segment for row in rows_of(path)] == [(0.0, 3.0), (3.0, 4.0), (0.0, None)]
    bad = write(tmp_path / "b.csv", "filename,text,start,stop\na.wav,one,0,x\na.wav,two,3,y\n")
    assert "line 2: stop 'x' is no time in seconds or hh:mm:ss: correct it" in refusal_of(bad)
    assert "(1 more line of this kind: 3)" in refusal_of(bad)
