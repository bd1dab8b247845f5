"""What is checked of each split before anything is decoded: whether it is built already, and its recordings exist."""

import json
import math
import os
import sys

from asrscale.common.errors import CliError
from asrscale.common.storage import is_remote
from asrscale.corpus.rows import Row
from asrscale.corpus.split_spool import Split
from asrscale.data.catalog import DATASET_FILE
from asrscale.data.index import read_index

PROBED_ROWS = 1_000  # whose recordings are looked for, of each split: with a wrong audio root nearly all are missing


def is_built(split: Split) -> bool:
    """Whether the folder of a split is complete; prints so, or why it is built again.

    Raises:
        CliError: The folder was built with other options or from other input, or its dataset.json is damaged.
    """
    try:
        changed = _changed_settings(split)
    except (FileNotFoundError, NotADirectoryError):
        return False
    if changed:
        cure = "give another --out or delete the folder"
        raise CliError(f"{split.folder} was built with other options or input ({', '.join(changed)}): {cure}")
    try:
        read_index([str(split.folder)])
    except CliError as error:
        print(f"building {split.folder} again: {error}", file=sys.stderr)
        return False
    print(f"{split.folder}: already built")
    return True


def _changed_settings(split: Split) -> list[str]:
    """Returns what in dataset.json differs from the settings of the build.

    Raises:
        FileNotFoundError: There is no dataset.json.
        NotADirectoryError: Nor a folder.
    """
    try:
        recorded = json.loads((split.folder / DATASET_FILE).read_bytes())["options"]
        differences = recorded.items() ^ split.settings.items()
        return sorted({name for name, _ in differences})
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        return [f"{DATASET_FILE} is damaged: {error!r}"]


def check_recordings(split: Split) -> None:
    """Raises CliError where most recordings of a split are missing, as when the audio root is wrong."""
    step = math.ceil(len(split.rows.kept) / PROBED_ROWS)
    probed = list(split.rows.read(split.rows.kept[::step]))
    missing = [row for row in probed if _is_missing(row, split.audio_root)]
    if 2 * len(missing) > len(probed):
        row = missing[0]
        raise CliError(
            f"{row.source} line {row.line}: no file {os.path.join(split.audio_root, row.audio)} ({len(missing):,} of "
            f"{len(probed):,} files looked for are missing): set --audio_root to the folder that '{row.audio}' is in"
        )


def _is_missing(row: Row, audio_root: str) -> bool:
    """Whether the file that holds the recording does not exist; one behind a URL is not looked for."""
    path = row.tar or os.path.join(audio_root, row.audio)
    return not is_remote(path) and not os.path.exists(path)
