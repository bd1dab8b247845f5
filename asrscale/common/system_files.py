"""Names of files: those that operating systems leave among a user's own, and those that lead nowhere else."""

import posixpath
import re

# Of Windows, macOS, Synology's file servers, and macOS's zip.
_NAMES = ("Thumbs.db", "desktop.ini", ".DS_Store", "@eaDir", "__MACOSX")


def is_plain_name(name: object) -> bool:
    """Whether a name that others wrote is that of a file in the folder that it is looked for in, and no path."""
    return isinstance(name, str) and name not in ("", ".", "..") and not re.search(r"[/\\\x00-\x1f\x7f]", name)


def is_system_file(path: str) -> bool:
    """Whether a file, or a folder that it is in, was left by an operating system: `path` is as seen from the corpus.

    macOS keeps what a foreign disk or a tar cannot hold of `a.wav` in `._a.wav`.
    """
    parts = path.split(posixpath.sep)
    return any(part in _NAMES or part.startswith("._") for part in parts)
