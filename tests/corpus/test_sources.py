"""Corpora of every format, and the paths of their recordings."""

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asrscale.common.errors import AudioError, CliError
from asrscale.corpus.recordings import audio_path, open_audio
from asrscale.corpus.rows import Row
from asrscale.corpus.sources import open_source
from asrscale.speech import decoding

SHARED = Path(__file__).parents[3] / "shared/data"


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def rows_of(path: object) -> list[Row]:
    return list(open_source(str(path)).read_rows())


def root_of(path: object) -> str:
    return open_source(str(path)).audio_root


def line_of(error: pytest.ExceptionInfo[Exception]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


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


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_byte_order_mark_and_line_ends(tmp_path: Path, mark: bytes, newline: str) -> None:
    path = write(tmp_path / "a.csv", mark + newline.join(["text,filename", "été,a.mp3", ""]).encode())
    assert rows_of(path) == [Row(2, path, "a.mp3", "été", {})]


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
        ("file,text\na,b\n", "line 1: needs one column 'filename', the header has file, text"),
        ("filename,words\na,b\n", "line 1: needs one column 'text'"),
        ("filename,text,text\na,b,c\n", "line 1: needs one column 'text'"),
        ("filename,text,age\na,b,c\nd,e\n", "line 3: 2 fields where the header has 3"),
        ("filename,text\na,hello, world\n", "line 2: 3 fields where the header has 2"),
        ("filename,text,,\na,hello, world\n", "line 2: 3 fields where the header has 2"),
        ('filename,text\na,b\nc,"never closed\nd,e\n', "line 3: unexpected end of data"),
        (b"filename,text\na,b\nc,\xff\xfe\n", "line 3: not UTF-8"),
        ("filename,text\na,b\n".encode("utf-16"), "line 1: not UTF-8"),
        ("filename,text,duration\na,b,1.5\nc,d,0:03\n", "line 3: duration '0:03' is no number of seconds"),
        ("path\tsentence\na\tb\nc\n", "line 3: 1 fields where the header has 2"),
        ("id|a|b|c\n", "line 1: 4 fields between bars"),
        (
            '{"audio_filepath": "a", "text": "b"}\n{"audio_filepath": "a"}\n',
            "line 2: needs 'audio_filepath' and 'text'",
        ),
        ('{"audio_filepath": "a", "text": "b"}\n\n[1]\n', "line 3: not a JSON object"),
        ('{"audio_filepath": "a", "text": "b"}\n{"audio_filepath": "a", "te', "line 2: not a JSON object"),
        ('{"audio_filepath": "a", "text": "\\ud800"}\n', "line 1: not a JSON object"),
        ('{"audio_filepath": "a", "text": "b", "offset": NaN, "duration": 1}\n', "line 1: offset 'NaN' is no number"),
        ('{"audio_filepath": "a", "text": "b", "offset": -1, "duration": 1}\n', "line 1: offset '-1' is no number"),
        ('{"a":' * 100_000, "line 1: not a JSON object"),
    ],
)
def test_bad_files_are_refused_in_one_line_with_the_place(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = write(tmp_path / "a.csv", content)
    with pytest.raises(CliError) as caught:
        rows_of(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(path)
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="give the path of a CSV file"):
        rows_of(tmp_path / "absent.csv")


@pytest.mark.parametrize("audio", ["a.mp3", "clips/a.mp3", "clips/../a.mp3", "./a.mp3"])
def test_paths_inside_the_audio_root(tmp_path: Path, audio: str) -> None:
    path = audio_path(Row(2, "a.csv", audio, "", {}), str(tmp_path))
    assert Path(path).is_relative_to(tmp_path)
    assert audio_path(Row(2, "a.csv", path, "", {}), str(tmp_path)) == path  # absolute, but inside


@pytest.mark.parametrize("audio", ["../a.mp3", "clips/../../a.mp3", "/etc/passwd", "{root}-other/a.mp3"])
def test_paths_outside_the_audio_root(tmp_path: Path, audio: str) -> None:
    with pytest.raises(AudioError, match=r"^path outside the audio root: "):
        audio_path(Row(2, "a.csv", audio.format(root=tmp_path), "", {}), str(tmp_path))


def test_links_are_followed_below_the_audio_root_only(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "clips").mkdir(parents=True)
    (tmp_path / "secret.wav").touch()
    (root / "clips/a.wav").touch()
    (root / "out.wav").symlink_to(tmp_path / "secret.wav")
    (root / "up").symlink_to(tmp_path)
    (root / "in.wav").symlink_to(root / "clips/a.wav")
    for name in ("out.wav", "up/secret.wav", str(root / "up/secret.wav")):
        with pytest.raises(AudioError, match=r"^path outside the audio root: "):
            open_audio(Row(2, "a.csv", name, "", {}), str(root))
    assert open_audio(Row(2, "a.csv", "in.wav", "", {}), str(root)) == str(root / "in.wav")
    (tmp_path / "link").symlink_to(root)  # the root itself may be one
    assert open_audio(Row(2, "a.csv", "clips/a.wav", "", {}), str(tmp_path / "link"))


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
    assert open_source(path, "elsewhere").audio_root == "elsewhere"


def test_json_lines_whole_files_and_segments(tmp_path: Path) -> None:
    records = [
        {"audio_filepath": "a.wav", "text": "one", "duration": 1.25},
        {"audio_filepath": "b.wav", "text": "two", "duration": 0.5, "offset": 2, "speaker": "ann", "lang": None},
        {"audio_filepath": "s3://bucket/c.wav", "text": None, "tags": [1, "x"]},
    ]
    path = write(tmp_path / "manifest.json", "\n\n".join(map(json.dumps, records)))
    assert rows_of(path) == [
        Row(1, path, "a.wav", "one", {"duration": "1.25"}, None, 1.25),
        Row(3, path, "b.wav", "two", {"duration": "0.5", "offset": "2", "speaker": "ann"}, 2.0, 0.5),
        Row(5, path, "s3://bucket/c.wav", "", {"tags": '[1, "x"]'}),
    ]


def test_ljspeech(tmp_path: Path) -> None:
    path = write(tmp_path / "metadata.csv", 'LJ1|In 1984, "he"|In nineteen, "he"\nLJ2|plain|\nLJ3|two fields\n')
    texts = ['In nineteen, "he"', "plain", "two fields"]
    for source in (path, tmp_path):  # the file or its folder
        expected = [Row(n, path, f"LJ{n}.wav", text, {}) for n, text in enumerate(texts, start=1)]
        assert rows_of(source) == expected
        assert root_of(source) == str(tmp_path / "wavs")


def test_librispeech_tree_and_single_file(tmp_path: Path) -> None:
    folders = [tmp_path / "84/121123", tmp_path / "1988/24833"]
    for folder in folders:
        folder.mkdir(parents=True)
        name = f"{folder.parent.name}-{folder.name}"
        write(folder / f"{name}.trans.txt", f"{name}-0000 GO DO YOU HEAR\n{name}-0001 BUT\n")
    rows = rows_of(tmp_path)
    assert [row.audio for row in rows] == [f"1988/24833/1988-24833-000{n}.flac" for n in (0, 1)] + [
        f"84/121123/84-121123-000{n}.flac" for n in (0, 1)
    ]
    assert [(row.line, row.text, row.speaker) for row in rows[1:3]] == [(2, "BUT", "1988"), (3, "GO DO YOU HEAR", "84")]
    assert root_of(tmp_path) == str(tmp_path)
    [file] = folders[0].iterdir()
    assert (rows_of(file)[0].audio, root_of(file)) == ("84-121123-0000.flac", str(folders[0]))


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            add(tar, name, content)
    return path


def tone(seconds: float, rate_hz: int = 16_000) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, 0.5 * np.sin(np.arange(int(seconds * rate_hz)) / 5), rate_hz, format="WAV")
    return buffer.getvalue()


def test_foreign_tars(tmp_path: Path) -> None:
    wav, about = tone(0.5), json.dumps({"text": "from json", "speaker": "bo"}).encode()
    first = write_tar(tmp_path / "a.tar", {"x/1.wav": wav, "x/1.txt": b"one", "2.flac": b"?", "2.json": about})
    second = write_tar(tmp_path / "b.tar", {"../../3.wav": wav, "4.cls": b"7", "5.wav": wav})
    rows = rows_of(tmp_path)
    assert [(row.line, row.source, row.audio, row.text) for row in rows] == [
        (1, str(first), "x/1.wav", "one"),
        (2, str(first), "2.flac", "from json"),
        (3, str(second), "../../3.wav", ""),
        (4, str(second), "5.wav", ""),
    ]
    assert rows[1].speaker == "bo"
    content = open_audio(rows[2], str(tmp_path))
    assert isinstance(content, io.BytesIO)
    assert content.getvalue() == wav
    assert rows_of(second) == [replace(row, line=row.line - 2) for row in rows[2:]]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[: 8 * 512], "no header and no end"),  # cut between two members: tarfile says nothing
        (lambda data: data[:1024] + b"\xff" * 512 + data[1536:], "no header and no end"),
        (lambda data: data[:700], "unexpected end of data"),
        (lambda data: b"", "empty file"),
        (lambda data: b"no tar" * 200, "not a tar|invalid header|bad checksum|truncated header"),
    ],
)
def test_a_damaged_tar_never_loses_its_rest_silently(
    tmp_path: Path, damage: Callable[[bytes], bytes], message: str
) -> None:
    path = write_tar(tmp_path / "a.tar", {f"{n}.txt": b"x" for n in range(4)} | {"0.wav": b"y"})
    data = path.read_bytes()[: 10 * 512 + 1024]  # less the padding to a whole record
    path.write_bytes(data)
    assert len(rows_of(path)) == 1
    path.write_bytes(damage(data))
    with pytest.raises(CliError, match=message) as caught:
        rows_of(path)
    assert line_of(caught).startswith(str(path))


def test_tarred_manifest_of_nemo(tmp_path: Path) -> None:
    write_tar(tmp_path / "audio_0.tar", {"a.wav": tone(1.0)})
    write_tar(tmp_path / "audio_1.tar", {"a.wav": tone(2.0)})
    record = {"audio_filepath": "a.wav", "text": "yes", "duration": 0.25, "offset": 0.5, "shard_id": 0}
    further = record | {"audio_filepath": "a-sub1.wav", "offset": 0.75}
    absent = record | {"audio_filepath": "z.wav"}
    path = write(tmp_path / "m.json", "\n".join(map(json.dumps, [record, further, record | {"shard_id": 1}, absent])))
    rows = rows_of(path)
    lengths = [len(decoding.decode(open_audio(row, str(tmp_path)), 9)[0]) for row in rows[:3]]
    assert lengths == [16_000, 16_000, 32_000]
    assert [row.start_seconds for row in rows] == [0.5, 0.75, 0.5, 0.5]
    with pytest.raises(AudioError, match=r"^missing file"):
        open_audio(rows[3], str(tmp_path))
    path = write(tmp_path / "m.json", json.dumps(record | {"shard_id": 7}))
    with pytest.raises(CliError, match=r"audio_7.tar: No such file"):
        rows_of(path)


def test_a_folder_of_nothing_known(tmp_path: Path) -> None:
    with pytest.raises(CliError, match=r"a folder without \*.trans.txt, metadata.csv or \*.tar"):
        rows_of(tmp_path)


def test_a_moved_manifest_is_found_by_default_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "wavs").mkdir()
    (tmp_path / "wavs/a.wav").touch()
    (tmp_path / "b.wav").touch()
    path = write(tmp_path / "a.csv", "filename,text\n/old/place/wavs/a.wav,x\n/old/place/wavs/b.wav,y\nc.wav,z\n")
    assert [row.audio for row in rows_of(path)] == ["wavs/a.wav", "wavs/b.wav", "c.wav"]
    assert "no /old/place/ here" in capsys.readouterr().err
    chosen_root = open_source(path, str(tmp_path))  # is kept to
    assert next(chosen_root.read_rows()).audio == "/old/place/wavs/a.wav"
    # Common Voice v1 has the same file names in every split: the folder's own name is never taken off
    path = write(tmp_path / "b.csv", "filename,text\ncv-valid-test/b.wav,x\n")
    assert rows_of(path)[0].audio == "cv-valid-test/b.wav"


def test_urls_below_a_remote_root_or_of_a_known_protocol() -> None:
    def located(name: str, root: str) -> str:
        return audio_path(Row(2, "a.csv", name, "", {}), root)

    assert located("clips/a.mp3", "s3://bucket/cv/") == "s3://bucket/cv/clips/a.mp3"
    assert located("gs://other/a.mp3", "/data") == "gs://other/a.mp3"
    for name, root in [
        ("../secret", "s3://bucket/cv"),
        ("/etc/passwd", "memory://cv"),
        ("file:///etc/passwd", "/data"),
        ("simplecache::file:///etc/passwd", "s3://bucket/cv/../../.."),
    ]:
        try:
            assert located(name, root).startswith(root.rstrip("/") + "/")  # a strange name below the root is but a name
        except AudioError as error:
            assert str(error).startswith("path outside the audio root: ")


def test_recordings_over_http(tmp_path: Path, http_server: object) -> None:
    url = http_server.url
    path = write(tmp_path / "a.csv", f"filename,text\n{url}/train/dataset.json,x\n{url}/absent.wav,y\n")
    here, absent = rows_of(path)
    content = open_audio(here, "/nowhere")
    assert isinstance(content, io.BytesIO)
    assert content.getvalue().startswith(b"{")
    http_server.failures = 2  # for a moment
    assert open_audio(Row(2, "a.csv", "train/dataset.json", "", {}), url).getvalue() == content.getvalue()
    with pytest.raises(AudioError, match=r"^missing file: "):
        open_audio(absent, "/nowhere")


def test_real_corpora_as_they_are() -> None:
    if not SHARED.exists():
        pytest.skip("../shared/data is not here")
    rows = rows_of(SHARED / "common_voice_v1/cv-valid-dev.csv")
    assert len(rows) == 4_076
    assert rows[0].audio == "cv-valid-dev/sample-000000.mp3"
    assert rows[0].extra == {"up_votes": "1", "down_votes": "0"}
    assert any("age" in row.extra for row in rows)
    for name, count in [
        ("an4/an4_train.json", 30),
        ("an4/an4_val.json", 10),
        ("an4/tarred_an4/tarred_audio_manifest.json", 32),
        ("an4/tarred_an4/tarred_duplicate_audio_manifest.json", 6),
        ("an4/tarred_an4", 32),
        ("ljspeech/manifest.json", 5),
        ("orders/cv-valid-dev.csv", 50),
    ]:
        source = open_source(str(SHARED / name))
        recordings = [(open_audio(row, source.audio_root), row.segment) for row in source.read_rows()]
        lengths = [len(decoding.decode(recording, 20, *segment)[0]) for recording, segment in recordings]
        assert len(lengths) == count
        assert min(lengths) > 0
