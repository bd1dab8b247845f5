"""Archives of corpora, such as Common Voice's .tar.gz: unpacked once, into the folder of the build."""

import bz2
import errno
import gzip
import hashlib
import lzma
import os
import re
import shutil
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import IO

from asrscale.common.addresses import clean_value
from asrscale.common.bounded_tars import BoundedTarInfo
from asrscale.common.errors import CliError
from asrscale.common.output_folder import disk_errors_as_cli_errors
from asrscale.common.storage import is_remote

UNPACK_FOLDER = ".unpacked"  # below --out

_READ_BYTES = 1 << 20

# What an archive may take on the disk: of sound and texts, a thousandth part is not what is left of them when they are
# packed. Each member takes at least a block of a disk. So much stays free for whoever else writes there.
_FREELY_BYTES = 1 << 30
_MOST_EXPANSION = 100
_MEMBER_BYTES = 4_096
_LEFT_FREE_BYTES = 1 << 30

_ZIP_END_BYTES = 1 << 17  # with a comment of 65,535 bytes
_DIRECTORY_BYTES = 128 << 20  # of a zip, which Python reads as a whole: of more than a million files

# Of members whose names no disk takes, or that are a file where another member needs a folder.
_NO_SUCH_FILE_ERRORS = (errno.ENAMETOOLONG, errno.EEXIST, errno.EISDIR, errno.ENOTDIR)

_LATEST_SECONDS = 1 << 33  # in the year 2242: what a damaged header says may be more than a file can have

_USTAR_OFFSET = 257  # where a tar's first header says `ustar`

_OPENERS: tuple[Callable[[str], IO[bytes]], ...] = (gzip.open, bz2.open, lzma.open)  # type: ignore[assignment]

_SHOWN_CHARACTERS = 100  # of a name or a reason, which a hostile archive can make as long as it likes

# What reading a damaged or hostile archive raises, besides the OSErrors of the disk: ValueError for a zero byte in a
# name, RuntimeError for a zip that is encrypted or packed in a way that Python cannot read.
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ValueError,
    OverflowError,
    RuntimeError,  # with RecursionError, of headers that announce each other
    IndexError,  # of a sparse file whose map is cut off
)


def is_archive(path: str) -> bool:
    """Whether a local file is a compressed tar or a zip of files, not a document that is a zip (xlsx).

    Raises:
        CliError: It is a zip of too many files.
    """
    if zipfile.is_zipfile(path):
        _check_directory(path)
        try:
            with zipfile.ZipFile(path) as archive:
                return "[Content_Types].xml" not in archive.namelist()
        except _DAMAGE:
            return False
    return any(_is_tar_within(path, opener) for opener in _OPENERS)


def _check_directory(path: str) -> None:
    """Raises CliError where the list of the files in a zip is too large for the memory.

    Its size is in a record at the end (PKWARE's APPNOTE.TXT, 4.3.16), and in another where it does not fit (4.3.14).
    """
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - _ZIP_END_BYTES))
        end = file.read()
    sizes = [int.from_bytes(end[at.end() + 8 : at.end() + 12], "little") for at in re.finditer(rb"PK\x05\x06", end)]
    sizes = [size for size in sizes if size != 0xFFFF_FFFF]
    sizes += [int.from_bytes(end[at.end() + 36 : at.end() + 44], "little") for at in re.finditer(rb"PK\x06\x06", end)]
    if max(sizes, default=0) > _DIRECTORY_BYTES:
        raise CliError(f"{path}: a zip of too many files: unpack it by hand and give its folder")


def _is_tar_within(path: str, opener: Callable[[str], IO[bytes]]) -> bool:
    """Whether what a compressed file holds begins as a tar does."""
    try:
        with opener(path) as file:
            beginning = file.read(_USTAR_OFFSET + 5)
    except (OSError, *_DAMAGE):
        return False
    return beginning[_USTAR_OFFSET:] == b"ustar"


def unpack_archive(path: str, into: str) -> str:
    """Returns the folder with the files of an archive, below `into`; unpacked only where an earlier call did not.

    Raises:
        CliError: The archive is damaged or leads out of its folder, or the disk is full.
    """
    status = os.stat(path)
    state = f"{status.st_size} {status.st_mtime_ns}"
    return unpack_once(path, state, into, partial(_extract, path))


def unpack_once(path: str, state: str, into: str, unpack: Callable[[str], None]) -> str:
    """Returns the folder below `into` that `unpack` has filled from the file `path` in this state.

    Args:
        path: The file, local or remote.
        state: What changes with its content.
        into: Where the folders of all files lie.
        unpack: Fills an empty folder; called only where no earlier call finished for the file in this state.

    Raises:
        CliError: The folder cannot be written to.
    """
    place = clean_value(path) if is_remote(path) else path
    file_name = os.path.basename(place.rstrip("/"))
    digest = hashlib.sha256(f"{file_name} {state}".encode()).hexdigest()
    folder = os.path.join(into, f"{file_name}-{digest[:12]}")
    if os.path.isdir(folder):
        return folder
    temporary = f"{folder}.{os.getpid()}.tmp"
    print(f"{place}: unpacking to {folder}", file=sys.stderr)
    with disk_errors_as_cli_errors("--out", into):
        os.makedirs(temporary)
        try:
            unpack(temporary)
            with suppress(OSError):  # another part of an array job was faster
                os.rename(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _extract(path: str, folder: str) -> None:
    """Extracts the files of an archive, none of which can lie or lead elsewhere."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                _check_room(path, folder, sum(_disk_bytes(member.file_size) for member in archive.infolist()))
                archive.extractall(folder)
            return
        with tarfile.open(path, tarinfo=BoundedTarInfo) as tar:
            _extract_files(tar, folder, path)
            _check_end(tar)
    except _DAMAGE as error:
        raise _refuse(path, str(error)) from error
    except OSError as error:
        if error.errno not in _NO_SUCH_FILE_ERRORS:
            raise
        name = os.path.relpath(str(error.filename), folder)[:_SHOWN_CHARACTERS]
        raise _refuse(path, f"'{name}' cannot be a file: {error.strerror}") from error


def _disk_bytes(size_bytes: int) -> int:
    """Returns what a member of a size takes on the disk, at least."""
    return max(size_bytes, _MEMBER_BYTES)


def _check_room(path: str, folder: str, unpacked_bytes: int, *, to_come: bool = True) -> None:
    """Raises CliError where the files of an archive take more than is theirs of the disk.

    Args:
        path: Of the archive.
        folder: Where they are written.
        unpacked_bytes: What they take together.
        to_come: Whether they are still to be written.
    """
    most_bytes = _FREELY_BYTES + _MOST_EXPANSION * os.path.getsize(path)
    cure = "unpack it by hand and give its folder, if it is what you expect"
    if unpacked_bytes > most_bytes:
        expansion = f"more than {most_bytes:,} bytes, {_MOST_EXPANSION} times its size and a GiB, come out of it"
        raise CliError(f"{path}: cannot be unpacked ({expansion}): {cure}")
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes - (unpacked_bytes if to_come else 0) < _LEFT_FREE_BYTES:
        room = f"--out has room for {free_bytes:,} bytes, of which {_LEFT_FREE_BYTES:,} are left to others"
        raise CliError(f"{path}: cannot be unpacked ({room}): give an --out on a larger disk")


def _refuse(path: str, reason: str) -> CliError:
    shown = " ".join(reason.split())[: 2 * _SHOWN_CHARACTERS]  # tarfile has a line for each way that it tried
    return CliError(f"{path}: cannot be unpacked ({shown}): copy it again, or unpack it by hand and give its folder")


def _extract_files(tar: tarfile.TarFile, folder: str, archive: str) -> None:
    """Writes the files of a tar below a folder; of a link, the file that it leads to in the same tar.

    What is no file and leads to none is left out, and said. tarfile's own safe way came with Python 3.11.4, and Debian
    12 has 3.11.2.

    Raises:
        tarfile.TarError: A member leads out of the folder.
        OSError: A member cannot be a file.
        CliError: The files take more than is theirs of the disk.
    """
    replaced: list[str] = []
    left_out: list[str] = []
    unpacked_bytes = 0
    for member in tar:
        unpacked_bytes += _disk_bytes(member.size)  # of a sparse file, with its holes
        _check_room(archive, folder, max(unpacked_bytes, tar.offset))
        if member.isdir():
            continue
        path = os.path.normpath(os.path.join(folder, member.name.lstrip("/")))
        if not path.startswith(folder + os.sep):
            raise tarfile.TarError(f"{_short_name(member)} leads out of it")
        content = _open_member(tar, member)
        if content is None:
            left_out.append(_short_name(member))
            continue
        if os.path.isfile(path):
            replaced.append(_short_name(member))
        with content:
            _write_file(content, path, member)
    for names, what in ((replaced, "there twice: the last is used"), (left_out, "no file and no link to one in it")):
        if names:
            print(f"{tar.name!s}: {len(names):,} members are {what}, such as {names[0]}", file=sys.stderr)


def _open_member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes] | None:
    """Opens a member of a tar for reading; returns None where it is no file and leads to none."""
    try:
        return tar.extractfile(member)
    except (KeyError, RecursionError):  # of a link to what is not there, or to itself
        return None


def _write_file(content: IO[bytes], path: str, member: tarfile.TarInfo) -> None:
    """Writes a member, with its time where a file can have it."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        shutil.copyfileobj(content, file, _READ_BYTES)
    time_seconds = member.mtime if 0 <= member.mtime < _LATEST_SECONDS else 0  # a damaged header may say NaN
    os.utime(path, (time_seconds, time_seconds))  # unpacked again, it is the same recording


def _short_name(member: tarfile.TarInfo) -> str:
    return f"'{member.name[:_SHOWN_CHARACTERS]}'"


def _check_end(tar: tarfile.TarFile) -> None:
    """Raises where a tar, all of whose members are read, has no end, or its compression is damaged.

    Python's tarfile takes a bad header for the end, and does not read on to the checksum.
    """
    assert tar.fileobj is not None
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f"no header and no end at byte {tar.offset:,}")
    while tar.fileobj.read(_READ_BYTES):
        pass
