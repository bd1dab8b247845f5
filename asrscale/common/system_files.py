"""Names of files: those that operating systems leave among a user's own, and those that lead nowhere else."""

import posixpath
import re

# Of Windows, macOS, Synology's file servers, macOS's zip, and Apple's file servers.
_NAMES = ("Thumbs.db", "desktop.ini", ".DS_Store", "@eaDir", "__MACOSX", ".AppleDouble")

# Where what was deleted lies, of Windows, macOS and Synology; on Linux the user's number follows.
_BINS = ("$RECYCLE.BIN", ".Trashes", "#recycle")
_LINUX_BIN = re.compile(r"\.Trash-\d+")


def is_plain_name(name: object) -> bool:
    """Whether a name that others wrote is that of a file in the folder that it is looked for in, and no path."""
    return isinstance(name, str) and name not in ("", ".", "..") and not re.search(r"[/\\\x00-\x1f\x7f]", name)


def is_system_file(path: str) -> bool:
    """Whether a file, or a folder that it is in, was left by an operating system: `path` is as seen from the corpus.

    macOS keeps what a foreign disk or a tar cannot hold of `a.wav` in `._a.wav`.
    """
    parts = path.split(posixpath.sep)
    return any(part in _NAMES or part.startswith("._") or _is_bin(part) for part in parts)


def _is_bin(name: str) -> bool:
    return name in _BINS or _LINUX_BIN.fullmatch(name) is not None
