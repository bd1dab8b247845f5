"""Archives that are unpacked for a build."""

import gzip
import io
import os
import re
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from asrscale.common.errors import CliError
from asrscale.sources import unpack
from asrscale.sources.unpack import is_archive, unpack_archive, unpack_once


def write_tar(path: Path, mode: str, names: tuple[str, ...] = ("corpus/a.txt",)) -> Path:
    with tarfile.open(path, mode) as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 5
            tar.addfile(member, io.BytesIO(b"hello"))
    return path


def write_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("corpus/a.txt", "hello")
    return path


ARCHIVES: dict[str, Callable[[Path], Path]] = {
    "a.tar.gz": lambda path: write_tar(path, "w:gz"),
    "a.tgz": lambda path: write_tar(path, "w:gz"),
    "a.tar.bz2": lambda path: write_tar(path, "w:bz2"),
    "a.tar.xz": lambda path: write_tar(path, "w:xz"),
    "a.zip": write_zip,
    "download": lambda path: write_tar(path, "w:gz"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_is_unpacked_once(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = ARCHIVES[name](tmp_path / name)
    assert is_archive(str(path))
    into = str(tmp_path / "into")
    folder = unpack_archive(str(path), into)
    assert Path(folder, "corpus/a.txt").read_text() == "hello"
    assert unpack_archive(str(path), into) == folder
    assert capsys.readouterr().err.count("unpacking to") == 1
    os.utime(path, ns=(0, 0))  # a new version, for all that is known
    assert unpack_archive(str(path), into) != folder


def test_what_is_no_archive(tmp_path: Path) -> None:
    for name, content in (
        ("a.csv", b"filename,text\n"),
        ("a.csv.gz", b"\x1f\x8b\x08"),
        ("empty", b""),
        ("bad.gz", gzip.compress(b"x" * 99)[:10] + b"\xff" * 99),
    ):
        (tmp_path / name).write_bytes(content)
        assert not is_archive(str(tmp_path / name))
    assert not is_archive(str(write_tar(tmp_path / "plain.tar", "w")))
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as archive:
        archive.writestr("[Content_Types].xml", "")
    assert not is_archive(str(tmp_path / "a.xlsx"))


@pytest.mark.parametrize("name", ["../outside.txt", "/tmp/outside-of-the-folder.txt"])
def test_no_member_lies_outside(tmp_path: Path, name: str) -> None:
    path = write_tar(tmp_path / "a.tar.gz", "w:gz", ("a.txt", name))
    try:
        folder = unpack_archive(str(path), str(tmp_path / "in/to"))
    except CliError as error:
        assert "cannot be unpacked" in str(error)
        assert not list((tmp_path / "in/to").iterdir())
    else:
        assert {file.name for file in Path(folder).rglob("*.txt")} >= {"a.txt"}
    assert not list(tmp_path.glob("**/../outside*"))
    assert not Path("/tmp/outside-of-the-folder.txt").exists()


@pytest.mark.parametrize(
    ("linkname", "kind"),
    [
        ("a.txt", tarfile.SYMTYPE),
        ("corpus/a.txt", tarfile.LNKTYPE),
        ("link.txt", tarfile.SYMTYPE),  # itself
        ("/etc/passwd", tarfile.SYMTYPE),
        ("../../../etc/passwd", tarfile.LNKTYPE),
        ("../corpus", tarfile.SYMTYPE),  # a folder
        ("", tarfile.FIFOTYPE),
    ],
)
def test_a_link_is_the_file_that_it_leads_to_in_the_archive(
    linkname: str, kind: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        folder = tarfile.TarInfo("corpus")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        member = tarfile.TarInfo("corpus/a.txt")
        member.size, member.mtime = 5, 1 << 60
        tar.addfile(member, io.BytesIO(b"hello"))
        link = tarfile.TarInfo("corpus/link.txt")
        link.type, link.linkname = kind, linkname
        tar.addfile(link)
    corpus = Path(unpack_archive(str(path), str(tmp_path / "in")), "corpus")
    assert (corpus / "a.txt").read_text() == "hello"
    said = capsys.readouterr().err
    if linkname in ("a.txt", "corpus/a.txt"):
        assert (corpus / "link.txt").read_text() == "hello" and not (corpus / "link.txt").is_symlink()
        assert "members are" not in said
    else:
        assert [file.name for file in corpus.iterdir()] == ["a.txt"]
        assert "1 members are no file and no link to one in it, such as 'corpus/link.txt'" in said


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("a", "a/b.txt"), "'a' cannot be a file: File exists"),
        (("a/b.txt", "a"), "'a' cannot be a file: Is a directory"),
        (("n" * 1_000,), f"'{'n' * 100}' cannot be a file: File name too long"),
        (("a/../../../x",), "'a/../../../x' leads out of it"),
        ((".",), "'.' leads out of it"),
    ],
)
def test_names_that_cannot_be_files(names: tuple[str, ...], reason: str, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar.gz", "w:gz", names)
    with pytest.raises(CliError, match=re.escape(f"a.tar.gz: cannot be unpacked ({reason}): copy it again")):
        unpack_archive(str(path), str(tmp_path / "into"))
    assert not list((tmp_path / "into").iterdir())


def test_a_file_that_is_there_twice_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_tar(tmp_path / "a.tar.gz", "w:gz", ("a.txt", "b.txt", "a.txt"))
    unpack_archive(str(path), str(tmp_path / "into"))
    assert f"{path}: 1 members are there twice: the last is used, such as 'a.txt'" in capsys.readouterr().err


def test_a_damaged_archive_leaves_nothing(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar.gz", "w:gz", tuple(f"{number}.txt" for number in range(99)))
    whole = path.read_bytes()
    without_end = gzip.compress(gzip.decompress(whole)[: 50 * 1024])
    for damaged in (whole[: len(whole) // 2], whole[:-8] + bytes(8), without_end):
        path.write_bytes(damaged)
        with pytest.raises(CliError, match=r"a.tar.gz: cannot be unpacked \(.*\): copy it again"):
            unpack_archive(str(path), str(tmp_path / "into"))
        assert not list((tmp_path / "into").iterdir())


def write_pax_tar(path: Path, headers: dict[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo("a.txt")
        member.pax_headers = headers
        tar.addfile(member)
    return path


def write_zip_of(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "hello")
    return path


def write_encrypted_zip(path: Path) -> Path:
    content = bytearray(write_zip(path).read_bytes())
    content[6] |= 1  # the flag in the member's own header, and the same in the directory at the end
    content[content.find(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    return path


def write_tar_of_long_number(path: Path) -> Path:
    content = b"0" * 100 + b" path=a\n"
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo("a")
        member.type, member.size = tarfile.XHDTYPE, len(content)
        tar.addfile(member, io.BytesIO(content))
    return path


HOSTILE: dict[str, Callable[[Path], Path]] = {
    "a zero byte in a name": lambda path: write_pax_tar(path, {"path": "a\0b"}),
    "a first header that no tar has, which tarfile says in five lines": write_tar_of_long_number,
    "a zip with a password": write_encrypted_zip,
    "a file where a zip needs a folder": lambda path: write_zip_of(path, "a", "a/b.txt"),
    "a folder where a zip needs a file": lambda path: write_zip_of(path, "a/b.txt", "a"),
    "a name too long in a zip": lambda path: write_zip_of(path, "n" * 1_000),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_are_refused_in_a_short_line_and_leave_nothing(tmp_path: Path, name: str) -> None:
    path = HOSTILE[name](tmp_path / "hostile")
    with pytest.raises(CliError, match=r"hostile: cannot be unpacked \(.*\): copy it again") as caught:
        unpack_archive(str(path), str(tmp_path / "into"))
    assert len(str(caught.value).replace(str(tmp_path), "")) < 400
    assert not list((tmp_path / "into").iterdir())


@pytest.mark.parametrize("time_seconds", ["nan", "-1", "1e300"])
def test_a_member_whose_time_no_file_can_have_is_unpacked(tmp_path: Path, time_seconds: str) -> None:
    path = write_pax_tar(tmp_path / "a.tar.gz", {"mtime": time_seconds})
    folder = unpack_archive(str(path), str(tmp_path / "into"))
    assert os.stat(os.path.join(folder, "a.txt")).st_mtime == 0


def bomb(path: Path, size: int, files: int = 1, mode: str = "w:gz") -> Path:
    """An archive of files of zeros, which is a thousand times smaller than they are."""
    if mode == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(files):
                archive.writestr(f"{number}.txt", bytes(size))
        return path
    with tarfile.open(path, mode) as tar:
        for number in range(files):
            member = tarfile.TarInfo(f"{number}.txt")
            member.size = size
            tar.addfile(member, io.BytesIO(bytes(size)))
    return path


@pytest.mark.parametrize("mode", ["w:gz", "zip"])
@pytest.mark.parametrize(("size", "files"), [(1 << 20, 20), (0, 5_000)])
def test_an_archive_takes_a_bounded_part_of_the_disk(
    tmp_path: Path, mode: str, size: int, files: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpack, "_FREELY_BYTES", 1 << 20)
    monkeypatch.setattr(unpack, "_MOST_EXPANSION", 10)
    path = bomb(tmp_path / "a.tar.gz", size, files, mode)
    with pytest.raises(CliError, match="10 times its size and a GiB, come out of it"):
        unpack_archive(str(path), str(tmp_path / "into"))
    assert not list((tmp_path / "into").iterdir())


def test_a_sparse_file_counts_with_its_holes(tmp_path: Path) -> None:
    member = tarfile.TarInfo("a.wav")
    member.pax_headers = {"GNU.sparse.size": str(1 << 50), "GNU.sparse.map": "0,0", "GNU.sparse.name": "a.wav"}
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(member)
    with pytest.raises(CliError, match="100 times its size"):
        unpack_archive(str(tmp_path / "a.tar.gz"), str(tmp_path / "into"))


def test_the_disk_is_not_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "_LEFT_FREE_BYTES", 1 << 60)
    for mode in ("w:gz", "zip"):
        path = bomb(tmp_path / mode.replace(":", "-"), 1_000, mode=mode)
        with pytest.raises(CliError, match="give an --out on a larger disk"):
            unpack_archive(str(path), str(tmp_path / "into"))


def test_a_zip_of_more_files_than_fit_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "_DIRECTORY_BYTES", 10_000)
    path = bomb(tmp_path / "a.zip", 0, files=1_000, mode="zip")
    with pytest.raises(CliError, match="a zip of too many files"):
        is_archive(str(path))


def test_a_folder_of_an_unpacked_address_has_no_signature_in_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = {
        unpack_once(f"https://ann:s3cret@host/a.parquet?sig={sig}", "state", str(tmp_path), lambda folder: None)
        for sig in ("s3cret", "s3cret2")
    }
    assert len(folders) == 1 and "a.parquet-" in str(folders)
    assert "s3cret" not in str(folders) + capsys.readouterr().err
