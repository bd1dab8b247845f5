"""Members of tar files: where they lie, and what they hold."""

import io
import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.broken_disk import break_sector
from helpers.sources import write_tar

from asrscale.common.errors import CliError
from asrscale.common.storage import read_local
from asrscale.data.tars import json_object, read_records, read_text_member, split_member_name, tar_members


def refusal_of(read: Callable[[], object]) -> str:
    """The one line of the error that is raised."""
    with pytest.raises(CliError) as caught:
        read()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_members_lie_where_the_tar_has_them(tmp_path: Path) -> None:
    contents = {"a.flac": b"audio", "b/../../c.txt": b"text", "empty": b""}
    path = write_tar(tmp_path / "a.tar", contents)
    found = dict(tar_members(str(path)))
    assert list(found) == list(contents)
    assert {name: read_local(place) for name, place in found.items()} == contents


def test_only_regular_files_are_members(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind in (("folder", tarfile.DIRTYPE), ("link", tarfile.SYMTYPE), ("pipe", tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(name)
            member.type = kind
            member.linkname = "/etc/passwd"
            tar.addfile(member)
        member = tarfile.TarInfo("file")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"text"))
    assert [name for name, _ in tar_members(str(path))] == ["file"]


@pytest.mark.parametrize(
    ("damage", "messages"),
    [
        (lambda data: data[: 8 * 512], ["no header and no end at byte 4,096"]),  # between two members
        (lambda data: data[:1024] + b"\xff" * 512 + data[1536:], ["no header and no end at byte 1,024"]),
        (lambda data: data[:700], ["unexpected end of data"]),
        (lambda data: b"", ["empty file"]),
        (lambda data: b"no tar" * 200, ["not a tar", "invalid header", "bad checksum", "truncated header"]),
    ],
)
def test_a_damaged_tar_is_refused_after_its_whole_members(
    tmp_path: Path, damage: Callable[[bytes], bytes], messages: list[str]
) -> None:
    path = write_tar(tmp_path / "a.tar", {f"{number}.txt": b"x" for number in range(5)})
    data = path.read_bytes()[: 10 * 512 + 1024]  # less the padding to a whole record
    path.write_bytes(data)
    assert len(list(tar_members(str(path)))) == 5
    path.write_bytes(damage(data))
    line = refusal_of(lambda: list(tar_members(str(path))))
    assert line.startswith(f"{path}: ") and line.endswith(": give a whole tar that is not compressed, or copy it again")
    assert any(message in line for message in messages)


def test_a_missing_or_a_compressed_tar_is_refused(tmp_path: Path) -> None:
    absent = refusal_of(lambda: list(tar_members(str(tmp_path / "absent.tar"))))
    assert absent == f"{tmp_path}/absent.tar: No such file or directory: correct the path, or copy the tar there"
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(__file__, "a.py")
    assert "not compressed" in refusal_of(lambda: list(tar_members(str(path))))


def test_the_text_of_a_member(tmp_path: Path) -> None:
    path = str(write_tar(tmp_path / "a.tar", {"good": "été".encode(), "bad": b"\xff\xfe"}))
    places = dict(tar_members(path))
    assert read_text_member(places["good"], "good") == "été"
    line = refusal_of(lambda: read_text_member(places["bad"], "bad"))
    assert line == f"{path}: member bad is no UTF-8 text: correct it"


def test_a_member_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(write_tar(tmp_path / "a.tar", {"1.json": b"{}"}))
    [(name, place)] = tar_members(path)
    break_sector(monkeypatch, place)
    line = refusal_of(lambda: read_text_member(place, name))
    assert line == f"{path}: member 1.json cannot be read (Input/output error): copy the tar again"


def test_records_are_those_of_the_json_members(tmp_path: Path) -> None:
    members = {"1.flac": b"audio", "1.json": b'{"accent": "us", "votes": 3}', "x/2.json": b"{}", "3.txt": b"text"}
    path = str(write_tar(tmp_path / "a.tar", members))
    assert read_records(path) == {"1": {"accent": "us", "votes": "3"}, "x/2": {}}
    broken = str(write_tar(tmp_path / "b.tar", {"1.json": b"[1]"}))
    assert refusal_of(lambda: read_records(broken)).startswith(f"{broken} 1: not a JSON object (")


def test_a_record_of_a_hostile_size_is_refused(tmp_path: Path) -> None:
    path = str(write_tar(tmp_path / "a.tar", {"1.JSON": b'{"a": 1}', "2.json": b" " * (1 << 20) + b"{}"}))
    line = refusal_of(lambda: read_records(path))
    assert line == f"{path}: member 2 has 1,048,578 bytes, a text has 1,048,576 at most: shorten it"
    assert read_records(str(write_tar(tmp_path / "b.tar", {"1.JSON": b'{"a": 1}'}))) == {"1": {"a": "1"}}


@pytest.mark.parametrize(
    ("name", "key", "extension"),
    [
        ("x/1.WAV", "x/1", "wav"),
        ("v1.0_b.wav", "v1", "0_b.wav"),
        ("a.b/c", "a.b/c", ""),
        ("wav", "wav", ""),
        ("x/.wav", "x/.wav", ""),
        ("./a.txt", "./a", "txt"),
        ("a.", "a", ""),
    ],
)
def test_keys_are_those_of_webdataset(name: str, key: str, extension: str) -> None:
    """As of webdataset's own `base_plus_ext`, whose pattern this is, where it finds a name for a key."""
    assert split_member_name(name) == (key, extension)
    match = re.match(r"^((?:.*/|)[^.]+)[.]([^/]*)$", name)
    assert match is None or match[1].endswith("/") or (match[1], match[2].lower()) == (key, extension)


def test_values_of_a_json_object_become_text() -> None:
    values = {"null": None, "text": "é", "number": 1.5, "truth": True, "list": [1, {"a": None}]}
    expected = {"null": "", "text": "é", "number": "1.5", "truth": "true", "list": '[1, {"a": null}]'}
    assert json_object(json.dumps(values), "here") == expected


@pytest.mark.parametrize(
    "content", ["", "[1]", "1", "null", '{"a":', '{"a": "\\ud800"}', '{"\\ud800": 1}', '{"a":' * 100_000]
)
def test_what_is_no_json_object_is_refused(content: str) -> None:
    assert refusal_of(lambda: json_object(content, "here")).startswith("here: not a JSON object (")
