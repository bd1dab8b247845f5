"""What the pages of a Parquet file say of their sizes, by which Arrow takes memory, against what its footer promises.

A page has a header in Thrift's compact protocol, then its content. Source: parquet-format's parquet.thrift (PageHeader,
ColumnMetaData) and Thrift's doc/specs/thrift-compact-protocol.md.
"""

from typing import BinaryIO

import pyarrow.parquet as pq

# Most headers have a hundred bytes; with statistics of two values, which writers cut short, some thousands.
_HEADER_BYTES = (1 << 10, 1 << 16)
_SIZE_FIELD = 2  # of PageHeader: uncompressed_page_size
_COMPRESSED_SIZE_FIELD = 3

# Arrow has each page in memory as a whole; one of a recording that is not cut has some hours of it.
_MOST_PAGE_BYTES = 1 << 29

# Some writers count their own headers otherwise.
_TOLERANCE_BYTES = 1 << 20

# Types of the compact protocol, by the lower half of a field's first byte.
_BOOLEANS = (1, 2)
_BYTE = 3
_INTEGERS = (4, 5, 6)
_DOUBLE = 7
_BINARY = 8
_LISTS = (9, 10)
_STRUCT = 12
_MOST_DEPTH = 8


def check_pages(file: BinaryIO, metadata: pq.FileMetaData, row_group: int) -> None:
    """Raises ValueError where the pages of a row group hold more than the footer promises, or are none.

    Args:
        file: Open; where it stands afterwards is not said.
        metadata: Of the file.
        row_group: The number of the row group.
    """
    for number in range(metadata.num_columns):
        chunk = metadata.row_group(row_group).column(number)
        first = chunk.data_page_offset
        if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < first:
            first = chunk.dictionary_page_offset
        most_bytes = int(chunk.total_uncompressed_size) + _TOLERANCE_BYTES
        found_bytes = _pages_bytes(file, int(first), int(chunk.total_compressed_size), most_bytes)
        if found_bytes > most_bytes:
            promised = f"{chunk.total_uncompressed_size:,} are promised"
            raise ValueError(f"the pages of {chunk.path_in_schema} hold {found_bytes:,} bytes, {promised}")


def _pages_bytes(file: BinaryIO, start: int, size: int, most_bytes: int) -> int:
    """Returns how many bytes the pages in a part of a file say that they hold; stops behind `most_bytes`."""
    position = start
    total = 0
    while position < start + size and total <= most_bytes:
        sizes, header_bytes = _read_header(file, position, start + size - position)
        content_bytes, compressed_bytes = sizes.get(_SIZE_FIELD, -1), sizes.get(_COMPRESSED_SIZE_FIELD, -1)
        if content_bytes < 0 or compressed_bytes < 0:
            raise ValueError(f"no page at byte {position:,}")
        if content_bytes > _MOST_PAGE_BYTES:
            raise ValueError(f"a page of {content_bytes:,} bytes")
        total += content_bytes
        position += header_bytes + compressed_bytes
    return total


def _read_header(file: BinaryIO, position: int, room: int) -> tuple[dict[int, int], int]:
    """Returns the integers of the header at a place, which has at most `room` bytes, and its length in bytes."""
    usual_bytes, most_bytes = _HEADER_BYTES
    for num_bytes in (usual_bytes, most_bytes):
        file.seek(position)
        header = _Header(file.read(min(num_bytes, room)))
        try:
            return header.read_integers(), header.position
        except ValueError:
            if num_bytes == most_bytes:
                raise
    raise AssertionError("the last attempt returns or raises")


class _Header:
    """Reads the header of a page from bytes, which may hold anything; raises ValueError where they are none."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.position = 0

    def read_integers(self, depth: int = 0) -> dict[int, int]:
        """Reads a struct; returns its integers by the numbers of their fields."""
        if depth > _MOST_DEPTH:
            raise ValueError("a page's header is nested too deep")
        integers: dict[int, int] = {}
        field = 0
        while start := self._byte():
            step, kind = start >> 4, start & 0xF
            field = field + step if step else self._integer()
            value = self._read(kind, depth)
            if value is not None:
                integers[field] = value
        return integers

    def _read(self, kind: int, depth: int) -> int | None:
        """Reads a value; returns it where it is an integer."""
        if kind in _INTEGERS:
            return self._integer()
        if kind in _LISTS:
            start = self._byte()
            count = start >> 4 if start >> 4 != 0xF else self._number()
            for _ in range(count):
                self._read(start & 0xF, depth + 1)
        elif kind == _STRUCT:
            self.read_integers(depth + 1)
        elif kind == _BINARY:
            self._skip(self._number())
        elif kind in (_BYTE, _DOUBLE):
            self._skip(1 if kind == _BYTE else 8)
        elif kind not in _BOOLEANS:
            raise ValueError("a page's header is damaged")
        return None

    def _byte(self) -> int:
        self._skip(1)
        return self._content[self.position - 1]

    def _skip(self, count: int) -> None:
        self.position += count
        if self.position > len(self._content):
            raise ValueError("a page's header has no end")

    def _number(self) -> int:
        """Reads a number of 7 bits a byte."""
        number = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
        raise ValueError("a page's header has a number that is too large")

    def _integer(self) -> int:
        """Reads an integer, whose lowest bit is its sign."""
        number = self._number()
        return (number >> 1) ^ -(number & 1)
