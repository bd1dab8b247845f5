"""Files that operating systems leave among a user's own, and that no corpus means."""

import posixpath

# Of Windows, macOS, Synology's file servers, and macOS's zip.
_NAMES = ("Thumbs.db", "desktop.ini", ".DS_Store", "@eaDir", "__MACOSX")


def is_system_file(path: str) -> bool:
    """Whether a file, or a folder that it is in, was left by an operating system: `path` is as seen from the corpus.

    macOS keeps what a foreign disk or a tar cannot hold of `a.wav` in `._a.wav`.
    """
    parts = path.split(posixpath.sep)
    return any(part in _NAMES or part.startswith("._") for part in parts)
