"""Tars of recordings and transcripts to rows."""

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.sources import refusal_of, rows_of, tone, write_tar

from asrscale.sources.recordings import open_audio


def test_foreign_tars(tmp_path: Path) -> None:
    wav = tone(0.5)
    about = json.dumps({"text": "from json", "speaker": "bo"}).encode()
    first = write_tar(tmp_path / "a.tar", {"x/1.wav": wav, "x/1.txt": b"one", "2.flac": b"?", "2.json": about})
    second = write_tar(tmp_path / "b.tar", {"../../3.wav": wav, "4.cls": b"7", "5.wav": wav, "5.txt": b"five"})
    rows = rows_of(tmp_path)
    assert [(row.line, row.source, row.audio, row.text) for row in rows] == [
        (1, str(first), "x/1.wav", "one"),
        (2, str(first), "2.flac", "from json"),
        (3, str(second), "../../3.wav", ""),
        (4, str(second), "5.wav", "five"),
        (5, str(second), "4.cls", ""),
    ]
    assert rows[1].speaker == "bo"
    content = open_audio(rows[2], str(tmp_path))
    assert isinstance(content, io.BytesIO)
    assert content.getvalue() == wav
    assert rows_of(second) == [replace(row, line=row.line - 2) for row in rows[2:]]


def reasons_of(path: Path) -> dict[str, str]:
    """Of each row of a tar, by its name, why it cannot be used; empty where it can."""
    rows = rows_of(path)
    assert len({row.audio for row in rows}) == len(rows)
    return {row.audio: row.unusable for row in rows}


def test_every_key_of_a_tar_is_a_row(tmp_path: Path) -> None:
    members = {
        "a.WAV": b"x",
        "a.TXT": b"upper case",
        "b.m4a": b"x",
        "b.txt": b"of a phone",
        "c.txt": b"alone",
        "d.pcm": b"x",
        "d.txt": b"unknown",
        "e.wav": b"x",
        "e.flac": b"y",
        "e.txt": b"twice",
        "wav": b"x",
        "folder/.wav": b"x",
        "f.wav": b"x",
        "g.wav": b"x",
        "g.json": b'{"sentence": "of Common Voice"}',
        "g.jpg": b"a picture",
        "h.wav": b"x",
        "h.json": b'{"id": 7, "said": "something"}',
    }
    assert reasons_of(write_tar(tmp_path / "a.tar", members)) == {
        "a.WAV": "",
        "b.m4a": "",
        "e.wav": "",
        "e.flac": "second recording: e.wav in the same tar has the key e, too",
        "f.wav": "no transcript: f.wav has no .txt and no .json with a text",
        "h.wav": "no transcript: h.wav has no .txt, and none of its .json's members (id, said) is known as a text",
        "g.wav": "",
        "c.txt": "no recording: the key has only c.txt",
        "d.pcm": "unknown extension: d.pcm is not known as audio by its name",
        "wav": "unknown extension: wav is not known as audio by its name",
        "folder/.wav": "unknown extension: folder/.wav is not known as audio by its name",
    }
    texts = {row.audio: row.text for row in rows_of(tmp_path / "a.tar")}
    assert (texts["a.WAV"], texts["c.txt"], texts["d.pcm"]) == ("upper case", "alone", "unknown")
    assert texts["g.wav"] == "of Common Voice"


def test_names_with_several_dots(tmp_path: Path) -> None:
    one = write_tar(tmp_path / "one.tar", {"v1.0_b.wav": b"x", "v1.0_b.txt": b"alone", "v1.cls": b"1"})
    assert [(row.audio, row.text, row.unusable) for row in rows_of(one)] == [("v1.0_b.wav", "alone", "")]
    members = {
        f"v1.{name}": name.encode() for name in ("0_a.wav", "0_a.txt", "0_b.wav", "0_b.txt", "0_c.txt", "0_d.wav")
    }
    several = write_tar(tmp_path / "several.tar", members)
    assert [(row.audio, row.text) for row in rows_of(several)][:2] == [
        ("v1.0_a.wav", "0_a.txt"),
        ("v1.0_b.wav", "0_b.txt"),
    ]
    assert reasons_of(several) == {
        "v1.0_a.wav": "",
        "v1.0_b.wav": "",
        "v1.0_d.wav": "second recording: v1.0_a.wav in the same tar has the key v1, too",
        "v1.0_c.txt": "no recording: the key has only v1.0_c.txt",
    }
    microphones = write_tar(tmp_path / "mics.tar", {"a.mic1.wav": b"x", "a.mic2.wav": b"y", "a.txt": b"of both"})
    assert [(row.text, bool(row.unusable)) for row in rows_of(microphones)] == [("of both", False), ("of both", True)]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"a.txt": b"one", "a.json": b'{"text": "two"}'}, "a.txt, a.json have different texts"),
        ({"a.json": b'{"text": "two"}', "a.txt": b"one"}, "a.json, a.txt have different texts"),
        ({"a.txt": b"\xff"}, "member a.txt is no UTF-8 text"),
        ({"a.json": b"[1]"}, "not a JSON object"),
        ({"a.json": b'{"text": NaN}'}, "text is NaN, which is no text"),
        ({"a.json": b'{"text": ["one"]}'}, 'text is ["one"], which is no text'),
        ({"a.json": b'{"text": "one", "offset": "soon"}'}, "offset 'soon' is no number of seconds"),
        ({"a.txt": b"x" * ((1 << 20) + 1)}, "member a.txt has 1,048,577 bytes"),
        ({"a.json": b" " * (1 << 20) + b'{"text": "one"}'}, "member a.json has 1,048,591 bytes"),
        ({"a.txt": b"one", "a.TXT": b"two"}, "a.txt, a.TXT have the same key and are different"),
    ],
)
def test_a_transcript_that_cannot_be_used_costs_its_row_alone(
    tmp_path: Path, members: dict[str, bytes], reason: str
) -> None:
    path = write_tar(tmp_path / "a.tar", {"a.wav": b"x", **members, "b.wav": b"y", "b.txt": b"good"})
    reasons = reasons_of(path)
    assert reasons.keys() == {"a.wav", "b.wav"}
    assert reasons["a.wav"].startswith("unusable transcript: ")
    assert reason in reasons["a.wav"]
    assert not reasons["b.wav"]


@pytest.mark.parametrize(
    "members",
    [
        {"a.json": b'{"text": "One, two!"}', "a.txt": b"one two"},  # another spelling of the same
        {"a.json": b'{"text": null}', "a.txt": b"one two"},
        {"a.json": b'{"words": [{"word": "one"}]}', "a.txt": b"one two"},
        {"a.txt": b"one two", "a.TXT": b"one two"},
    ],
)
def test_transcripts_that_agree(tmp_path: Path, members: dict[str, bytes]) -> None:
    [row] = rows_of(write_tar(tmp_path / "a.tar", {"a.wav": b"x", **members}))
    assert (row.text, row.unusable) == ("one two", "")


def test_times_in_a_tar_say_where_its_recording_was_cut_out(tmp_path: Path) -> None:
    about = json.dumps({"text": "one", "start": 12.5, "end": 13.0, "filename": "meeting.wav"}).encode()
    [row] = rows_of(write_tar(tmp_path / "a.tar", {"a.wav": b"x", "a.json": about}))
    assert (row.audio, row.start_seconds, row.seconds) == ("a.wav", None, None)
    assert row.extra == {"start": "12.5", "end": "13.0"}


def test_links_in_a_tar_are_rows_that_say_so(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        link = tarfile.TarInfo("a.wav")
        link.type = tarfile.LNKTYPE
        link.linkname = "b.wav"
        tar.addfile(link)
    assert reasons_of(path) == {"a.wav": "not a file: a.wav is a link, sparse or a device"}


def test_files_of_operating_systems_are_no_members(tmp_path: Path) -> None:
    members = {"a.wav": b"x", "a.txt": b"one", "._a.wav": b"x", "x/.DS_Store": b"x", "__MACOSX/a.wav": b"x"}
    write_tar(tmp_path / "a.tar", members)
    (tmp_path / "._a.tar").write_bytes(b"\0\5\x16\7" + bytes(159))
    (tmp_path / "@eaDir").mkdir()
    (tmp_path / "@eaDir/a.tar").write_bytes(b"")
    assert [row.audio for row in rows_of(tmp_path)] == ["a.wav"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[: 8 * 512], "no header and no end"),  # cut between two members: tarfile reports nothing
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
    assert len(rows_of(path)) == 4
    path.write_bytes(damage(data))
    refusal = refusal_of(path)
    assert any(part in refusal for part in message.split("|"))
