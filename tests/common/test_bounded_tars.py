"""Headers that no tar has: refused before they are read, in tars and in compressed ones."""

import gzip
import resource
import tarfile
from pathlib import Path

import pytest

from asrscale.common.bounded_tars import MAX_HEADER_BYTES
from asrscale.common.errors import CliError
from asrscale.data.tars import tar_members
from asrscale.sources.unpack import unpack_archive

END = bytes(2 * tarfile.BLOCKSIZE)
PACK_ANEW = "a header of .* bytes, more than 8,192"


def header(kind: bytes, size: int, name: str = "a.flac") -> bytes:
    """A header of a tar, whose size may be one that tar itself would not write."""
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


def file(content: bytes = b"audio") -> bytes:
    return header(tarfile.REGTYPE, len(content)) + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def sparse_without_its_map() -> bytes:
    """The header of a sparse file in GNU's old form, which announces a block that the tar lacks."""
    block = bytearray(header(tarfile.GNUTYPE_SPARSE, 0))
    block[482] = 1
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(record: bytes) -> bytes:
    return header(tarfile.XHDTYPE, len(record)) + record + bytes(-len(record) % tarfile.BLOCKSIZE)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (pax(b"1" * 100_000) + file() + END, PACK_ANEW),  # whose square older Pythons take
        (pax(b"8000 path=" + b"1" * 7_989 + b"\n") + file() + END, "a number of 64 digits"),
        (sparse_without_its_map(), "index out of range|unexpected end|truncated"),
        (header(tarfile.XGLTYPE, 1 << 40) + END, PACK_ANEW),
        (header(tarfile.GNUTYPE_LONGNAME, 1 << 40) + END, PACK_ANEW),
        (header(tarfile.GNUTYPE_LONGLINK, 1 << 62) + END, PACK_ANEW),
        (file() + header(tarfile.GNUTYPE_LONGNAME, 1 << 40) + END, PACK_ANEW),
        (header(tarfile.REGTYPE, -1_024) + END, "a member of -1,024 bytes"),
        (header(tarfile.REGTYPE, 1 << 40) + END, "unexpected end of data"),
        (pax(b"30 size=99999999999999999999\n") + file() + END, "unexpected end of data|too large|invalid header"),
        (pax(b"17 GNU.sparse.map=x\n") + file() + END, "invalid literal|invalid header"),
        (pax(b"") * 2_000 + file() + END, "recursion"),
    ],
)
def test_what_no_tar_has_is_refused_in_one_line(content: bytes, why: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(content)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CliError, match=why) as caught:
        list(tar_members(str(path)))
    assert "\n" not in str(caught.value)
    compressed = tmp_path / "a.tar.gz"
    compressed.write_bytes(gzip.compress(content))
    with pytest.raises(CliError, match="cannot be unpacked"):
        unpack_archive(str(compressed), str(tmp_path / "unpacked"))
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
    assert grown_kib < 64 * 1024


def test_names_and_attributes_of_real_tars_are_read(tmp_path: Path) -> None:
    name = "/".join(["folder" * 30] * 20) + "/a.flac"
    for tar_format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        with tarfile.open(tmp_path / "a.tar", "w", format=tar_format) as tar:
            member = tarfile.TarInfo(name)
            member.pax_headers = {"SCHILY.xattr.user.note": "x" * (MAX_HEADER_BYTES // 2)}
            tar.addfile(member)
        assert [found for found, _ in tar_members(str(tmp_path / "a.tar"))] == [name]
