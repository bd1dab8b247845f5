"""The members of one utterance in a tar: KEY.flac (or another audio format), KEY.json and KEY.txt.

Headers are made here and not by tarfile, which takes 3 % of a build for the three members of each utterance.
"""

import json
import tarfile
from typing import IO

from asrscale.common.addresses import clean_json, may_hold_address
from asrscale.corpus.payload import Payload
from asrscale.sources.rows import Row

# The header (POSIX ustar) of an empty file without a name, an owner or a time. Name, size and checksum are filled in.
_EMPTY_HEADER = tarfile.TarInfo().tobuf(tarfile.USTAR_FORMAT)

# Where the fields lie in a header. Source: POSIX, pax, "ustar Interchange Format".
_SIZE_FIELD = slice(124, 135)  # 11 octal digits
_CHECKSUM_FIELD = slice(148, 155)  # 6 octal digits and a NUL; the space that follows them is in the empty header

# The checksum of a header is the sum of all its bytes, those of the checksum itself taken for spaces. This is what the
# bytes add to it that are the same in each header: all but the 100 of the name and the 11 of the size.
_SUM_OF_CONSTANT_BYTES = sum(_EMPTY_HEADER[100:124] + _EMPTY_HEADER[135:148] + b" " * 8 + _EMPTY_HEADER[156:])

_to_json = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode


def write_utterance(file: IO[bytes], key: str, row: Row, payload: Payload) -> int:
    """Appends the members of one utterance to a tar.

    Returns:
        Where in the tar its audio starts, in bytes.
    """
    offset = file.tell() + tarfile.BLOCKSIZE  # the audio comes first, behind its header
    _write_member(file, f"{key}.{payload.extension}", payload.audio)
    _write_member(file, f"{key}.json", json_of_columns(row))
    _write_member(file, f"{key}.txt", payload.text.encode())
    return offset


def json_of_columns(row: Row) -> bytes:
    """Returns the content of KEY.json: what others read, so without secrets of addresses."""
    columns = {"source": row.source, "audio": row.audio, "speaker": row.speaker, **row.extra}
    written = _to_json(columns)
    return (_to_json(clean_json(columns)) if may_hold_address(written) else written).encode()


def write_end(file: IO[bytes]) -> None:
    """Appends the two empty blocks that end a tar."""
    file.write(bytes(2 * tarfile.BLOCKSIZE))


def _write_member(file: IO[bytes], name: str, content: bytes) -> None:
    """Appends a file of at most 8 GiB, whose name has at most 100 bytes: its header, its content, and padding."""
    name_field = name.encode()
    size_field = b"%011o" % len(content)
    checksum = _SUM_OF_CONSTANT_BYTES + sum(name_field) + sum(size_field)
    header = bytearray(_EMPTY_HEADER)
    header[: len(name_field)] = name_field
    header[_SIZE_FIELD] = size_field
    header[_CHECKSUM_FIELD] = b"%06o\0" % checksum
    padding = bytes(-len(content) % tarfile.BLOCKSIZE)
    file.writelines((header, content, padding))
