"""Text files of sources, line by line."""

from collections.abc import Iterator

from asrscale.common.errors import CliError
from asrscale.common.storage import open_binary


def read_lines(path: str) -> Iterator[str]:
    """Reads the lines of a UTF-8 file, local or remote, with their line ends and without a byte order mark.

    Raises:
        CliError: The file cannot be read or is not UTF-8; names the line.
    """
    line_number = 1
    try:
        with open_binary(path) as file:
            for line_number, line in enumerate(file, start=1):
                yield line.decode("utf-8-sig" if line_number == 1 else "utf-8")
    except OSError as error:
        raise CliError(f"{path}: {error.strerror or error}: give the path of a CSV file or another corpus") from error
    except UnicodeDecodeError as error:
        raise CliError(f"{path} line {line_number}: not UTF-8: convert the file, as with iconv -t UTF-8") from error
