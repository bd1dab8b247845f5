"""Sources of any known format to rows: recognises the format by its content."""

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import chain

from asrscale.common.errors import CliError
from asrscale.common.storage import is_remote
from asrscale.corpus.rows import Row
from asrscale.corpus.source_formats import read_librispeech, read_table_or_manifest, read_tars


def read_source(path: str, audio_root: str | None = None) -> tuple[Iterator[Row], str]:
    """Reads a corpus of any known format, told by its content; a remote one where it is a single file.

    | source | told by | audio root where none is given |
    |---|---|---|
    | CSV with a header, UTF-8 | columns as in AUDIO_COLUMNS and TEXT_COLUMNS | the file's folder |
    | TSV of Common Voice, without quotes | tabs in the header | `clips` beside it |
    | JSON lines, as NeMo's; with `shard_id`, audio_0.tar … beside it | `{` | the file's folder |
    | LJSpeech's metadata.csv | bars between the fields, no header | `wavs` beside it |
    | *.trans.txt of LibriSpeech, WebDataset tars; files or folders of them | their names | the folder |

    Returns:
        The rows in the order of the source, and the folder or URL that their recordings lie below.

    Raises:
        CliError: The source is missing, empty or of no such format, or a row is damaged; names file and line.
    """
    is_folder = os.path.isdir(path)
    folder = path if is_folder else os.path.dirname(path)
    names = sorted(os.path.join(at, name) for at, _, names in os.walk(path) for name in names) if is_folder else [path]
    if texts := [name for name in names if name.endswith(".trans.txt")]:
        rows, root = read_librispeech(texts, folder), folder
    elif tars := [name for name in names if name.endswith(".tar")]:
        rows, root = read_tars(tars), folder
    elif is_folder and os.path.join(path, "metadata.csv") not in names:
        raise CliError(f"{path}: a folder without *.trans.txt, metadata.csv or *.tar: give the file with transcripts")
    else:
        rows, root = read_table_or_manifest(os.path.join(path, "metadata.csv") if is_folder else path, folder)
    first = next(rows, None)
    if not first:
        raise CliError(f"{path}: has a header but no rows: add one row a recording")
    movable = not (audio_root or first.tar or is_remote(root))
    prefix = _foreign_prefix(path, first.audio, root) if movable else ""
    rows = (replace(row, audio=row.audio.removeprefix(prefix)) if prefix else row for row in chain([first], rows))
    return rows, audio_root or root or "."


@cache  # said once, however often the source is read
def _foreign_prefix(source: str, audio: str, root: str) -> str:
    """What to take off all paths of a manifest that moved with its recordings, so that `audio`, the first, is found."""
    ends = [0, *(slash.end() for slash in re.finditer("/+", audio))]
    # Never its own folder: Common Voice v1 has the same names in every split.
    end = next((end for end in ends[:-1] if os.path.exists(os.path.join(root, audio[end:]))), 0)
    if end:
        print(f"{source}: no {audio[:end]} here, so it is taken off the paths of recordings", file=sys.stderr)
    return audio[:end]
