"""Corpora whose tables do not say where their recordings are: FLEURS, VoxPopuli, Multilingual LibriSpeech (MLS)."""

import os
import re
from collections.abc import Iterator, Sequence

from asrscale.common.errors import CliError
from asrscale.sources.lines import read_lines
from asrscale.sources.rows import Row

MLS_FILE = "transcripts.txt"

VOXPOPULI_AUDIO = "id"  # its column: names without an extension

_VOXPOPULI_COLUMNS = {VOXPOPULI_AUDIO, "raw_text", "normalized_text"}


def fleurs_folder(table: str) -> str:
    """Returns where FLEURS has the recordings of SPLIT.tsv: in SPLIT, or in audio/SPLIT."""
    folder, name = os.path.split(table)
    split = name.split(".")[0]
    places = [os.path.join(folder, split), os.path.join(folder, "audio", split)]
    return next((place for place in places if os.path.isdir(place)), folder)


def is_voxpopuli(columns: Sequence[str]) -> bool:
    """Whether a table has the columns of VoxPopuli's asr_train.tsv."""
    return set(columns) >= _VOXPOPULI_COLUMNS and "path" not in columns


def voxpopuli_folders(table: str) -> str | tuple[str, ...]:
    """Returns where VoxPopuli has the recordings of a table: in a folder for each year beside it, or in its own."""
    folder = os.path.dirname(table)
    years = sorted(entry.path for entry in os.scandir(folder or ".") if re.fullmatch(r"\d{4}", entry.name))
    return tuple(years) or folder


def read_mls(path: str) -> Iterator[Row]:
    """Reads Multilingual LibriSpeech's transcripts.txt: `speaker_book_number<tab>text` a line.

    The recordings are speaker/book/ID.flac or .opus below the folder `audio` beside it.
    """
    for line, content in enumerate(read_lines(path), start=1):
        if not content.strip():
            continue
        name, tab, text = content.rstrip("\r\n").partition("\t")
        speaker, *rest = name.split("_")
        if not tab or len(rest) != 2:
            raise CliError(f"{path} line {line}: not speaker_book_number, a tab and a text, as MLS has: correct it")
        audio = f"{speaker}/{rest[0]}/{name}"
        yield Row(line=line, source=path, audio=audio, text=text, extra={"id": name, "speaker": speaker})
