"""What is checked of each split before anything is decoded: whether it is built already, and its recordings exist."""

import json
import math
import os
import sys
from collections.abc import Iterable

from asrscale.common.addresses import HOW_TO_WRITE, can_be_cleaned, clean_value
from asrscale.common.errors import CliError
from asrscale.common.storage import is_remote
from asrscale.corpus.shard_inputs import is_content, read_joined_inputs
from asrscale.corpus.split_spool import Split
from asrscale.data.catalog import DATASET_FILE
from asrscale.data.index import Index, read_index
from asrscale.sources.recordings import ROW_PROTOCOLS, AudioRoot, recording_file, roots_of
from asrscale.sources.rows import Row

_ROWS_SETTING = "rows_sha256"

PROBED_ROWS = 1_000  # whose recordings are looked for, of each split: with a wrong audio root nearly all are missing


def is_built(split: Split) -> bool:
    """Whether the folder of a split is complete; prints why it is built again.

    Raises:
        CliError: The folder was built with other options or from other input, or its dataset.json is damaged.
    """
    try:
        changed = _changed_settings(split)
    except (FileNotFoundError, NotADirectoryError):
        return False
    if changed == [_ROWS_SETTING] and _are_tars_repaired(split):
        changed = []
    if changed:
        cure = "give another --out or delete the folder"
        raise CliError(f"{split.folder} was built with other options or input ({', '.join(changed)}): {cure}")
    try:
        index = read_index([str(split.folder)])
    except CliError as error:
        print(f"building {split.folder} again: {error}", file=sys.stderr)
        return False
    print(_other_normalisation(split, index), end="")
    return True


def _are_tars_repaired(split: Split) -> bool:
    """Whether the rows of a split differ from those that it was built of only in where their recordings lie in tars."""
    positions = [*split.rows.kept, *split.rows.refused]
    recorded = read_joined_inputs(str(split.folder.parent), split.folder.name).values()
    has_tars = any(row.tar for row in split.rows.read(positions))
    return has_tars and is_content(split.rows.read(positions), recorded)


def _other_normalisation(split: Split, index: Index) -> str:
    """Returns a line about a folder whose transcripts an older version normalised in another way; "" for others."""
    language = split.rules.text.language
    if index.text_rules[0] == split.rules.text and not index.notes:
        return ""
    steps = f"other steps than those of now for {language or 'any language'}"
    return f"{split.folder}: its transcripts were normalised by {steps}: for these give another --out\n"


def has_same_settings(split: Split) -> bool:
    """Whether the complete folder of a split was built with the options, and from just the rows, of this build."""
    return not _changed_settings(split)


def _changed_settings(split: Split) -> list[str]:
    """Returns what in dataset.json differs from the settings of the build.

    Raises:
        FileNotFoundError: There is no dataset.json.
        NotADirectoryError: Nor a folder.
    """
    try:
        dataset = json.loads((split.folder / DATASET_FILE).read_bytes())
        settings = split.settings
        if "text" not in dataset and not split.language_is_given:
            # Older versions had the same steps for all languages, and did not look which one a corpus names.
            settings = {name: value for name, value in settings.items() if name != "language"}
        differences = dataset["options"].items() ^ settings.items()
        return sorted({name for name, _ in differences})
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (OSError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        return [f"{DATASET_FILE} is damaged: {error!r}"]


def warn_of_repeated_recordings(splits: Iterable[Split]) -> None:
    """Prints for each source how many of its recordings have several texts: each of these gets the whole recording."""
    for source, count in {split.source: split.repeated_recordings for split in splits}.items():
        if count:
            have = "1 recording has" if count == 1 else f"{count:,} recordings have"
            print(f"warning: {source}: {have} several texts and no offsets: each text gets all of it", file=sys.stderr)


def check_recordings(split: Split) -> None:
    """Raises CliError where most recordings of a split are missing or may not be read: the audio root is wrong."""
    step = math.ceil(len(split.rows.kept) / PROBED_ROWS)
    probed = list(split.rows.read(split.rows.kept[::step]))
    outside = [row for row in probed if _is_outside(row, split.audio_root)]
    missing = [row for row in probed if _is_missing(row, split.audio_root)]
    if 2 * (len(outside) + len(missing)) <= len(probed):
        return
    elsewhere = [row for row in missing if row.audio.startswith(ROW_PROTOCOLS)]
    if elsewhere:
        raise CliError(_elsewhere_message(elsewhere, split.audio_root, len(probed)))
    if len(outside) > len(missing):
        raise CliError(_outside_message(outside, split.audio_root, len(probed)))
    row = missing[0]
    place = os.path.join(roots_of(split.audio_root)[0], row.audio)
    raise CliError(
        f"{row.source} line {row.line}: no file {place} ({len(missing):,} of "
        f"{len(probed):,} files looked for are missing): set --audio_root to the folder that '{row.audio}' is in"
    )


def _elsewhere_message(elsewhere: list[Row], audio_root: AudioRoot, num_probed: int) -> str:
    """Returns the line for recordings with addresses that rows may not have: with the place to allow."""
    row = elsewhere[0]
    if not can_be_cleaned(row.audio):
        return f"{row.source} line {row.line}: user and password cannot be told from its address: {HOW_TO_WRITE}"
    address = clean_value(row.audio)
    place = address.rpartition("/")[0]
    roots = ",".join(roots_of(audio_root))
    return (
        f"{row.source} line {row.line}: {address} is not below {roots}, from where alone rows are fetched "
        f"({len(elsewhere):,} of {num_probed:,} looked at are elsewhere): allow it, too: --audio_root {roots},{place}"
    )


def _outside_message(outside: list[Row], audio_root: AudioRoot, num_probed: int) -> str:
    """Returns the line for recordings that exist, but below no root: with the folder to allow."""
    places = [_real_path(row, audio_root) for row in outside]
    folders = [os.path.dirname(place) for place in places]
    common_folder = os.path.commonpath(folders)
    allowed = common_folder if common_folder != "/" else folders[0]
    roots = ",".join(roots_of(audio_root))
    return (
        f"{outside[0].source} line {outside[0].line}: {places[0]} is outside of {roots} ({len(outside):,} of "
        f"{num_probed:,} files looked for are): allow their folder, too: --audio_root {roots},{allowed}"
    )


def _is_missing(row: Row, audio_root: AudioRoot) -> bool:
    """Whether there is no file for the recording, below a root or elsewhere; one behind a URL is not looked for."""
    path = recording_file(row, audio_root)
    if path is None:
        return not _is_outside(row, audio_root)
    return not (is_remote(path) or os.path.exists(path))


def _is_outside(row: Row, audio_root: AudioRoot) -> bool:
    """Whether the recording exists, but below no root."""
    is_refused = recording_file(row, audio_root) is None
    return is_refused and os.path.isfile(_real_path(row, audio_root))


def _real_path(row: Row, audio_root: AudioRoot) -> str:
    """Returns where the file of a row lies, links followed."""
    return os.path.realpath(os.path.join(roots_of(audio_root)[0], row.audio.replace("\0", "")))
