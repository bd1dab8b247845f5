"""Headers of tars that are as large as real ones: Python's tarfile reads and parses whatever size a header gives.

It would take a name of a terabyte into memory, and before Python 3.11.10 the square of a pax header's length in time
(CVE-2024-6232).
"""

import tarfile

# Of a pax header or a long name, which Linux allows 4,096 bytes. On an old Python such a pax header takes 0.1 s.
MAX_HEADER_BYTES = 8_192

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
