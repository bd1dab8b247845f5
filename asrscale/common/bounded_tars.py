"""Headers of tars that are as large as real ones: Python's tarfile reads and parses whatever size a header gives.

It would take a name of a terabyte into memory, and before Python 3.11.10 the square of a pax header's length in time
(CVE-2024-6232), for each of a million members.
"""

import re
import tarfile
from typing import Any

# Of a pax header or a long name, which Linux allows 4,096 bytes.
MAX_HEADER_BYTES = 8_192

# Digits in a row in a pax header, where no number has so many: each is the start of a search on such an old Python.
_DIGITS = re.compile(rb"[0-9]{64}")

_HEADERS_WITH_CONTENT = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)


class BoundedTarInfo(tarfile.TarInfo):
    """A tar's header, for `tarfile.open(…, tarinfo=BoundedTarInfo)`: one that no tar has is a `tarfile.ReadError`."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "BoundedTarInfo":
        """Returns the header in a block of a tar, before tarfile reads what it announces.

        Raises:
            tarfile.HeaderError: It is no header.
            tarfile.ReadError: It announces less than nothing, or more than a name and attributes take.
        """
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0:
            raise tarfile.ReadError(f"a member of {header.size:,} bytes")
        if header.type in _HEADERS_WITH_CONTENT and header.size > MAX_HEADER_BYTES:
            attributes = f"a header of {header.size:,} bytes, more than {MAX_HEADER_BYTES:,} of names and attributes"
            raise tarfile.ReadError(f"{attributes}: pack it again without extended attributes")
        return header

    def _proc_pax(self, tar: Any) -> tarfile.TarInfo:
        """Reads a pax header by tarfile's own method, once it is known to take no square of its length."""
        content = tar.fileobj.read(self._block(self.size))  # type: ignore[attr-defined]
        if _DIGITS.search(content):
            raise tarfile.ReadError("a header with a number of 64 digits")
        tar.fileobj = _ReadAgain(tar, content)
        return super()._proc_pax(tar)  # type: ignore[misc,no-any-return]


class _ReadAgain:
    """In the place of a tar's file for one call of `read`, which returns what has been read before."""

    def __init__(self, tar: Any, content: bytes) -> None:
        self._tar = tar
        self._file = tar.fileobj
        self._content = content

    def read(self, _size: int) -> bytes:
        """Returns the content, and puts the file back into its place."""
        self._tar.fileobj = self._file
        return self._content
