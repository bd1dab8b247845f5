"""The members of tar files: names, places, and JSON or text content."""

import json
import tarfile
from collections.abc import Iterator

from asrscale.common.errors import CliError
from asrscale.common.storage import Range, open_binary, read_ranges

MAX_MEMBER_BYTES = 1 << 20  # of a text or JSON in a tar: no transcript is longer, and more could fill the memory


def read_text_member(place: Range, name: str) -> str:
    """The text of a member; raises CliError where it cannot be read or is not UTF-8."""
    [data] = read_ranges([place])
    try:
        return str(data, "utf-8")  # type: ignore[arg-type]
    except (TypeError, UnicodeDecodeError) as error:  # TypeError: why it cannot be read
        raise CliError(f"{place.path}: member {name} is no UTF-8 text: correct it") from error


def tar_members(path: str) -> Iterator[tuple[str, Range]]:
    """The regular files of a tar: their names, which are never used as paths, and where their contents lie.

    Raises:
        CliError: The tar is missing, compressed or damaged; Python's tarfile takes a bad header for the end.
    """
    try:
        with open_binary(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if member.isreg() and not member.issparse():
                    yield member.name, Range(path, member.offset_data, member.size)
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError(f"no header and no end at byte {tar.offset:,}")
    except (OSError, tarfile.TarError) as error:
        why = getattr(error, "strerror", None) or error
        raise CliError(f"{path}: {why}: give a whole tar that is not compressed, or copy it again") from error


def read_records(path: str) -> dict[str, dict[str, str]]:
    """What each KEY.json of a WebDataset tar says, by its key."""
    places = {name[:-5]: place for name, place in tar_members(path) if name.endswith(".json")}
    return {key: json_object(read_text_member(place, key), f"{path} {key}") for key, place in places.items()}


def json_object(content: str, place: str) -> dict[str, str]:
    """A JSON object's members as text; no text where they are null."""
    try:
        members = json.loads(content).items()
        record = {name: "" if it is None else it if isinstance(it, str) else json.dumps(it) for name, it in members}
        "".join([*record, *record.values()]).encode()
    except (ValueError, AttributeError, RecursionError) as error:  # ValueError also where UTF-8 cannot hold a text
        raise CliError(f"{place}: not a JSON object ({' '.join(str(error).split())}): correct it") from error
    return record
