"""CSV, TSV and LJSpeech's metadata.csv to rows."""

from pathlib import Path

import pytest
from helpers.sources import refusal_of, root_of, rows_of, write

from asrscale.common.errors import CliError
from asrscale.sources.formats import SourceOptions
from asrscale.sources.opening import open_source
from asrscale.sources.rows import ColumnNames, Row


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
        ("", ": is empty: "),
        ("\n \n", ": is empty: "),
        ("filename,text\n", "no rows"),
        ("clip,text\na,b\n", "line 1: needs one column 'filename', the header has clip, text: give the names"),
        ("clip,caption\na,b\n", "line 1: needs one column 'filename' and one 'text', the header has clip, caption"),
        ("filename,caption\na,b\n", "line 1: needs one column 'text'"),
        ("filename,text,text\na,b,c\n", "line 1: two columns are named 'text': rename one"),
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


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("filename;text\na.wav;one, two\n", [("a.wav", "one, two")]),
        ('filename;text\na.wav;"one; ""two"""\n', [("a.wav", 'one; "two"')]),
        ("sep=;\nfilename;text\na.wav;one\n", [("a.wav", "one")]),
        ('"sep=;"\nfilename;text\na.wav;one\n', [("a.wav", "one")]),
        ("sep=\t\npath\ttext\na.wav\tone\n", [("a.wav", "one")]),
        ("audio_file|text|speaker_name\nwavs/a.wav|one|ann\n", [("wavs/a.wav", "one")]),
        ("wav_filename,wav_filesize,transcript\na.wav,123,one\n", [("a.wav", "one")]),
        ('ID, duration, wav, spk_id, wrd\n1, 2.5, a.wav, ann, "one, two"\n', [("a.wav", "one, two")]),
        ('"path"\t"sentence"\n"a.wav"\t"tab\tin it"\n', [("a.wav", "tab\tin it")]),
        ('path\tsentence\na.wav\t"quoted"\n', [("a.wav", '"quoted"')]),
        ("a.wav,one\nb.wav,two\n", [("a.wav", "one"), ("b.wav", "two")]),
        ("one\ta.mp3\n", [("a.mp3", "one")]),
    ],
)
def test_separators_quotes_and_headers_are_recognised(
    tmp_path: Path, content: str, expected: list[tuple[str, str]]
) -> None:
    rows = rows_of(write(tmp_path / "a.csv", content))
    assert [(row.audio, row.text.strip()) for row in rows] == expected


def test_columns_that_the_user_names(tmp_path: Path) -> None:
    def rows(content: str, **names: str) -> list[tuple[str, str, str | None]]:
        path = write(tmp_path / "a.csv", content)
        source = open_source(path, options=SourceOptions(names=ColumnNames(**names)))
        return [(row.audio, row.text, row.speaker) for row in source.read_rows()]

    table = "who,clip,said\nann,a.wav,one\n"
    assert rows(table, audio="clip", text="said", speaker="who") == [("a.wav", "one", "ann")]
    assert rows(table.replace(",", ";"), audio="clip", text="said") == [("a.wav", "one", None)]
    assert rows("7\ta.wav\tone\tx\n", audio="2", text="3", speaker="1") == [("a.wav", "one", "7")]
    assert rows("a.wav|one|x|y\n", audio="1", text="2") == [("a.wav", "one", None)]
    jsonl = '{"clip": "a.wav", "said": "one", "text": null}\n'
    assert rows(jsonl, audio="clip", text="said") == [("a.wav", "one", None)]
    with pytest.raises(CliError, match=r"line 1: needs one column 'lyrics', the header has filename, text: give"):
        rows("filename,text\na.wav,one\n", text="lyrics")
    with pytest.raises(
        CliError, match=r"line 1: names the recording a.wav, so the table has no header: .*2 --text_column 1"
    ):
        rows("7,a.wav,one\n")


def test_what_to_do_about_a_wrong_number_of_fields_depends_on_the_table(tmp_path: Path) -> None:
    unquoted = refusal_of(write(tmp_path / "a.tsv", "path\tsentence\na.mp3\tone\ttwo\nb.mp3\tthree\nc.mp3\n"))
    assert "line 2: 3 fields where the header has 2: complete the row, and take a tab or a line end out of" in unquoted
    assert "1 more line of this kind: 4" in unquoted
    quoted = refusal_of(write(tmp_path / "a.csv", "path;sentence\na.mp3;one;two\n"))
    assert "put quotes around a text that holds a semicolon" in quoted


def test_ljspeech_with_names_of_files(tmp_path: Path) -> None:
    path = write(tmp_path / "metadata.csv", "a.wav|hello|hello\nb.wav|two words|\n")
    assert [row.audio for row in rows_of(path)] == ["a.wav", "b.wav"]
    assert root_of(path) == (str(tmp_path / "wavs"), str(tmp_path))


def test_the_last_column_of_common_voice_has_no_line_end_in_its_name(tmp_path: Path) -> None:
    for newline in ("\n", "\r\n"):
        path = write(tmp_path / "a.tsv", f"path\tsentence\tclient_id{newline}a.mp3\tone\tann{newline}")
        assert root_of(path) == str(tmp_path / "clips")
        assert [(row.audio, row.text, row.speaker) for row in rows_of(path)] == [("a.mp3", "one", "ann")]


@pytest.mark.parametrize(
    "header", ["id|text|speaker", "filename|text|speaker", "utt_id|transcription|speaker_id", "ID|Text|speaker"]
)
def test_a_first_line_between_bars_is_no_recording(tmp_path: Path, header: str) -> None:
    """What a table whose fields are not clear is to be given."""
    (tmp_path / "wavs").mkdir()
    path = write(tmp_path / "metadata.csv", f"{header}\nu0|1 2|anna\nu1|3 4|ben\n")
    assert [(row.audio, row.text, row.speaker) for row in rows_of(path)] == [
        ("u0", "1 2", "anna"),
        ("u1", "3 4", "ben"),
    ]
    assert root_of(path) == (str(tmp_path / "wavs"), str(tmp_path))
