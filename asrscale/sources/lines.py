"""Text files of sources, line by line."""

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, BinaryIO

from asrscale.common.errors import CliError
from asrscale.common.storage import open_binary

# Of a line, and of a record of a table: a row is shorter, and a file without line ends, or a gzip file that unpacks to
# one, would fill the memory.
MAX_LINE_BYTES = 1 << 23

_GZIP_MAGIC = b"\x1f\x8b"


def read_lines(path: str) -> Iterator[str]:
    """Reads the lines of a UTF-8 file, local or remote, gzipped or not: with line ends, without byte order mark.

    Raises:
        CliError: The file cannot be read or is not UTF-8, or has a line that is too long; names the line.
    """
    line_number = 1
    try:
        with text_errors_as_cli_errors(path), open_text_bytes(path) as file:
            lines = iter(partial(file.readline, MAX_LINE_BYTES + 1), b"")
            for line_number, line in enumerate(lines, start=1):
                if len(line) > MAX_LINE_BYTES:
                    raise too_long(path, line_number)
                yield line.decode("utf-8-sig" if line_number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise CliError(f"{path} line {line_number}: not UTF-8: convert the file, as with iconv -t UTF-8") from error


def too_long(path: str, line: int) -> CliError:
    """Returns the error for a line, or a record that begins on it, that is longer than that of any table."""
    cure = f"write a row a line, as with jq -c '.[]' {path} > NEW.jsonl where it is JSON"
    return CliError(f"{path} line {line}: longer than {MAX_LINE_BYTES:,} bytes, so no row: {cure}")


@contextmanager
def text_errors_as_cli_errors(path: str) -> Iterator[None]:
    """Raises CliError for a file that cannot be read, or is damaged where it is gzipped."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CliError(f"{path}: a damaged gzip file ({error}): copy it again") from error
    except OSError as error:
        why = error.strerror or ("no such file" if isinstance(error, FileNotFoundError) else error)
        raise CliError(f"{path}: {why}: give the path of a CSV file or another corpus") from error


def open_text_bytes(path: str) -> BinaryIO:
    """Opens a file for reading; one that is gzipped, whatever its name, is unpacked on the way.

    Raises:
        OSError: It cannot be opened.
    """
    file = open_binary(path)
    beginning = file.read(len(_GZIP_MAGIC))
    file.seek(0)
    if beginning != _GZIP_MAGIC:
        return file
    unpacked: Any = gzip.GzipFile(fileobj=file)
    return io.BufferedReader(unpacked)


def read_objects(path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Reads JSON lines: the number of each line that is not blank, and its object.

    Raises:
        CliError: A line is no JSON object, or as `read_lines`.
    """
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CliError(f"{path} line {number}: not a JSON object ({error}): correct it") from error
        if not isinstance(value, dict):
            raise CliError(f"{path} line {number}: not a JSON object: correct it")
        yield number, value
