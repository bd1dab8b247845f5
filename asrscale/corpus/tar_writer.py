"""The tar members of one utterance."""

import json
import tarfile
from typing import IO

from asrscale.corpus.rows import Row

# Of a file of nobody, at no time, in a tar (POSIX ustar). Name, size and checksum are filled in, at bytes 0, 124 and
# 148: for three members of each utterance, tarfile takes 3 % of a build. The checksum is the sum of all bytes, its own
# taken for spaces.
_HEADER = tarfile.TarInfo().tobuf(tarfile.USTAR_FORMAT)


_SUM_OF_REST = sum(_HEADER[100:124] + _HEADER[135:148] + b" " * 8 + _HEADER[156:])


_to_json = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode


def write_utterance(file: IO[bytes], split: str, row: Row, kind: str, data: bytes, text: str) -> tuple[str, int]:
    """Adds KEY.flac (or what `kind` is), KEY.json and KEY.txt to the tar; returns the key, and where its audio lies."""
    key = f"{split}-{row.line:08d}"
    about = {"source": row.source, "audio": row.audio, "speaker": row.speaker, **row.extra}
    members = {kind: data, "json": _to_json(about).encode(), "txt": text.encode()}
    offset = file.tell() + tarfile.BLOCKSIZE  # of the audio, which is the first
    for name, content in members.items():
        header, path, size = bytearray(_HEADER), f"{key}.{name}".encode(), b"%011o" % len(content)
        header[: len(path)], header[124:135] = path, size
        header[148:155] = b"%06o\0" % (_SUM_OF_REST + sum(path) + sum(size))
        file.writelines((header, content, bytes(-len(content) % tarfile.BLOCKSIZE)))
    return key, offset
