"""The members of tar files: names, places, and JSON or text content."""

import json
import tarfile
from collections.abc import Iterator
from typing import Any

from asrscale.common.errors import CliError
from asrscale.common.storage import Range, error_line, open_binary, read_ranges

MAX_MEMBER_BYTES = 1 << 20  # of a text or JSON in a tar: no transcript is longer, and more could fill the memory

_JSON_SUFFIX = ".json"


def tar_members(path: str) -> Iterator[tuple[str, Range]]:
    """Yields the regular files of a tar: their names, which are never used as paths, and where their contents lie.

    Raises:
        CliError: The tar is missing, compressed or damaged; Python's tarfile takes a bad header for the end.
    """
    try:
        with open_binary(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if member.isreg() and not member.issparse():
                    yield member.name, Range(path, member.offset_data, member.size)
            file.seek(tar.offset)
            end = file.read(tarfile.BLOCKSIZE)
            if end != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError(f"no header and no end at byte {tar.offset:,}")
    except (OSError, tarfile.TarError) as error:
        why = getattr(error, "strerror", None) or error
        raise CliError(f"{path}: {why}: give a whole tar that is not compressed, or copy it again") from error


def read_text_member(place: Range, name: str) -> str:
    """Reads the text of a member.

    Args:
        place: Where its content lies.
        name: What messages call it.

    Raises:
        CliError: It cannot be read, or is not UTF-8.
    """
    [data] = read_ranges([place])
    if isinstance(data, Exception):
        raise CliError(f"{place.path}: member {name} cannot be read ({error_line(data)}): copy the tar again") from data
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CliError(f"{place.path}: member {name} is no UTF-8 text: correct it") from error


def read_records(path: str) -> dict[str, dict[str, str]]:
    """Reads every KEY.json of a WebDataset tar; returns its members as `json_object` does, by its key.

    Raises:
        CliError: As `tar_members`, `read_text_member` and `json_object`.
    """
    places = {
        name.removesuffix(_JSON_SUFFIX): place for name, place in tar_members(path) if name.endswith(_JSON_SUFFIX)
    }
    return {key: json_object(read_text_member(place, key), f"{path} {key}") for key, place in places.items()}


def json_object(content: str, place: str) -> dict[str, str]:
    """Returns the members of a JSON object as text: no text where they are null, JSON where they are not strings.

    Args:
        content: The JSON.
        place: Where it stands, for messages.

    Raises:
        CliError: It is not a JSON object, or UTF-8 cannot hold a text in it.
    """
    try:
        members = json.loads(content).items()
        record = {name: _member_text(value) for name, value in members}
        "".join([*record, *record.values()]).encode()  # ValueError where UTF-8 cannot hold a text
    except (ValueError, AttributeError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise CliError(f"{place}: not a JSON object ({why}): correct it") from error
    return record


def _member_text(value: Any) -> str:
    """Returns a value of a JSON object as text."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value)
