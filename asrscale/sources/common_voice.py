"""Where the releases of Common Voice, and corpora that are laid out like it, have their tables and clips."""

import os
import re
from collections.abc import Callable, Iterator

from asrscale.common.errors import CliError
from asrscale.common.storage import Range
from asrscale.common.system_files import is_system_file
from asrscale.data.tars import tar_members
from asrscale.sources.rows import Row
from asrscale.sources.split_names import split_in_name
from asrscale.sources.tar_samples import row_in_tar

_TABLE = re.compile(r"(?P<stem>.+)\.(tsv|csv|jsonl|json)(\.gz)?")

_WORDS_OF_OTHER_TABLES = ("other", "invalid", "invalidated")

_HUB_TRANSCRIPTS = "transcript"  # on the hub: transcript/LANGUAGE/SPLIT.tsv and audio/LANGUAGE/SPLIT/…

_HUB_AUDIO = "audio"


def split_tables(folder: str) -> dict[str, str]:
    """Returns the tables of a folder that are named as splits, such as train.tsv or cv-valid-dev.csv, by their splits.

    Where there is none, but a validated.tsv, that is the only one, without a name.

    Raises:
        CliError: Two of them are for the same split.
    """
    tables: dict[str, str] = {}
    for name in sorted(os.listdir(folder)):
        match = _TABLE.fullmatch(name)
        stem = match["stem"] if match else ""
        split = split_in_name(stem)
        if not split or set(re.split(r"[^a-z]+", stem.lower())).intersection(_WORDS_OF_OTHER_TABLES):
            continue
        if split in tables:
            cure = f"give the one to use, as in --csv {split}={os.path.join(folder, name)}"
            raise CliError(f"{folder}: {os.path.basename(tables[split])} and {name} are both for {split}: {cure}")
        tables[split] = os.path.join(folder, name)
    validated = os.path.join(folder, "validated.tsv")
    if not tables and os.path.exists(validated):
        tables[""] = validated
    return tables


def transcript_folder(folder: str) -> str | None:
    """Returns the folder of the tables in the layout that Common Voice has on the hub; None for another layout.

    Raises:
        CliError: It has several languages.
    """
    transcripts = os.path.join(folder, _HUB_TRANSCRIPTS)
    if not os.path.isdir(transcripts):
        return None
    languages = sorted(entry.name for entry in os.scandir(transcripts) if entry.is_dir())
    if len(languages) > 1:
        raise CliError(f"{folder}: has {', '.join(languages)}: give one, as in --csv {transcripts}/{languages[0]}")
    return os.path.join(transcripts, languages[0]) if languages else transcripts


def clip_folders(table: str) -> tuple[str, ...]:
    """Returns the folders in which the clips of a table may lie: `clips` beside it where none is there.

    Newer layouts have numbered folders, such as en_train_0, beside the table or in the hub's audio/en/train.
    """
    folder = os.path.dirname(table)
    for name in ("clips", "audios"):  # audios: that of spontaneous speech
        if os.path.isdir(os.path.join(folder, name)):
            return (os.path.join(folder, name),)
    numbered = [
        entry.path
        for place in (folder, _hub_audio_folder(table))
        if os.path.isdir(place or ".")
        for entry in os.scandir(place or ".")
        if entry.is_dir() and _is_numbered(entry.name, table)
    ]
    return tuple(sorted(set(numbered), key=_number_last)) or (os.path.join(folder, "clips"),)


def clip_tars(table: str) -> list[str]:
    """Returns the tars that hold the clips of a table in the hub's layout, in the order of their numbers."""
    folder = _hub_audio_folder(table)
    if not os.path.isdir(folder):
        return []
    tars = [file.path for file in os.scandir(folder) if file.name.endswith(".tar") and not is_system_file(file.name)]
    return sorted(tars, key=_number_last)


def read_rows_in_tars(read_rows: Callable[[], Iterator[Row]], tars: list[str]) -> Iterator[Row]:
    """Reads rows whose recordings are members of tars, by their file names; the folder of a member does not matter."""
    places: dict[str, Range] = {}
    for tar in tars:
        places |= {os.path.basename(name): place for name, place in tar_members(tar)}
    for row in read_rows():
        place = places.get(row.audio) or places.get(f"{row.audio}.mp3")
        yield row_in_tar(row, place) if place else row


def _hub_audio_folder(table: str) -> str:
    """Returns where the hub's layout has the clips of transcript/LANGUAGE/SPLIT.tsv."""
    folder, name = os.path.split(os.path.abspath(table))
    transcripts, language = os.path.split(folder)
    root, last = os.path.split(transcripts)
    if last != _HUB_TRANSCRIPTS:
        return ""
    return os.path.join(root, _HUB_AUDIO, language, name.split(".")[0])


def _is_numbered(name: str, table: str) -> bool:
    """Whether a folder is one of several that have the clips of a table: en_train_0 of train.tsv."""
    stem = os.path.basename(table).split(".")[0]
    return re.fullmatch(rf"(.*_)?{re.escape(stem)}_\d+", name) is not None


def _number_last(path: str) -> tuple[int, str]:
    """Returns a key that sorts by the number at the end of a name, so that 10 is behind 9."""
    number = re.search(r"(\d+)(\.tar)?$", path)
    return (int(number[1]) if number else 0, path)
