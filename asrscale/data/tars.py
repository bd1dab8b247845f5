"""The members of tar files: names, places, and JSON or text content."""

import json
import os
import tarfile
from collections.abc import Iterator
from typing import Any, BinaryIO

from asrscale.common.bounded_tars import BoundedTarInfo
from asrscale.common.errors import CliError
from asrscale.common.storage import Range, error_line, open_binary, read_ranges
from asrscale.common.system_files import is_system_file

MAX_MEMBER_BYTES = 1 << 20  # of a text or JSON in a tar: no transcript is longer, and more could fill the memory

_JSON_SUFFIX = ".json"

# What tarfile raises: also of numbers that are none, and of headers that announce each other.
_DAMAGE = (OSError, tarfile.TarError, ValueError, OverflowError, IndexError, RecursionError)


def tar_members(path: str) -> Iterator[tuple[str, Range]]:
    """Yields the regular files of a tar: their names, which are never used as paths, and where their contents lie.

    Raises:
        CliError: As `all_members`.
    """
    for name, place in all_members(path):
        if place is not None:
            yield name, place


def all_members(path: str) -> Iterator[tuple[str, Range | None]]:
    """Yields the members of a tar but its folders and the files of operating systems.

    Returns:
        Of each its name and where its content lies; None for what is no regular file: links, sparse files, devices.

    Raises:
        CliError: The tar is missing, compressed or damaged; Python's tarfile takes a bad header for the end.
    """
    try:
        with open_binary(path) as file:
            size_bytes = file.seek(0, os.SEEK_END)
            file.seek(0)
            for member in _headers(file):
                if member.isdir() or is_system_file(member.name):
                    continue
                is_file = member.isreg() and not member.issparse()
                if is_file and not 0 <= member.size <= size_bytes - member.offset_data:
                    raise tarfile.ReadError(f"unexpected end of data at byte {size_bytes:,}")
                yield member.name, Range(path, member.offset_data, member.size) if is_file else None
    except FileNotFoundError as error:
        raise CliError(f"{path}: {error.strerror}: correct the path, or copy the tar there") from error
    except _DAMAGE as error:
        why = getattr(error, "strerror", None) or error
        raise CliError(f"{path}: {why}: give a whole tar that is not compressed, or copy it again") from error


def _headers(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """Yields the headers of a tar; raises tarfile.TarError where it has no end."""
    with tarfile.open(fileobj=file, mode="r:", tarinfo=BoundedTarInfo) as tar:
        yield from tar
        file.seek(tar.offset)
        end = file.read(tarfile.BLOCKSIZE)
        if end != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError(f"no header and no end at byte {tar.offset:,}")


def split_member_name(name: str) -> tuple[str, str]:
    """Returns WebDataset's key of a member, which ends at the first dot of the file name, and the rest in lower case.

    A file name without a dot, or that begins with one, is a key without extension.
    """
    dot = name.find(".", name.rfind("/") + 1)
    begins_with_dot = dot == name.rfind("/") + 1
    if dot < 0 or begins_with_dot:
        return name, ""
    return name[:dot], name[dot + 1 :].lower()


def read_text_member(place: Range, name: str) -> str:
    """Reads the text of a member.

    Args:
        place: Where its content lies.
        name: What messages call it.

    Raises:
        CliError: It cannot be read, is larger than MAX_MEMBER_BYTES, or is not UTF-8.
    """
    if place.size > MAX_MEMBER_BYTES:
        too_large = f"member {name} has {place.size:,} bytes, a text has {MAX_MEMBER_BYTES:,} at most"
        raise CliError(f"{place.path}: {too_large}: shorten it")
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
        name[: -len(_JSON_SUFFIX)]: place for name, place in tar_members(path) if name.lower().endswith(_JSON_SUFFIX)
    }
    return {key: json_object(read_text_member(place, key), f"{path} {key}") for key, place in places.items()}


def json_object(content: str, place: str) -> dict[str, str]:
    """Returns the members of a JSON object as text, as `json_text` does.

    Args:
        content: The JSON.
        place: Where it stands, for messages.

    Raises:
        CliError: It is not a JSON object, or UTF-8 cannot hold a text in it.
    """
    try:
        members = json_members(content)
    except ValueError as error:
        raise CliError(f"{place}: {error}: correct it") from error
    return {name: json_text(value) for name, value in members.items()}


def json_members(content: str) -> dict[str, Any]:
    """Returns the members of a JSON object.

    Raises:
        ValueError: It is not a JSON object, or UTF-8 cannot hold a text in it.
    """
    try:
        members = dict(json.loads(content).items())
        "".join([*members, *map(json_text, members.values())]).encode()  # ValueError where UTF-8 cannot hold a text
    except (ValueError, AttributeError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise ValueError(f"not a JSON object ({why})") from error
    return members


def json_text(value: Any) -> str:
    """Returns a value of a JSON object as text: none for null, JSON for what is not a string."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value)
