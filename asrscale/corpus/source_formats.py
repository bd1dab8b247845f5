"""Recognises the format of a source, and chooses its reader.

A format has one reader: in source_tables, source_manifests or source_tars. A new one gets a reader there (or in a new
`source_….py`) and a branch in `recognise_source` below.

| source | recognised by | audio root by default |
|---|---|---|
| LibriSpeech's *.trans.txt, or a folder of them | the name | the folder |
| WebDataset tar, or a folder of them | the name | the folder |
| folder with a metadata.csv | the name | that of the metadata.csv |
| JSON lines, as NeMo's; with `shard_id`, audio_0.tar … beside them | first character `{` | the file's folder |
| LJSpeech's metadata.csv | bars between the fields, no header | `wavs` beside the file |
| TSV of Common Voice, without quotes | tabs in the header, a column `client_id` | `clips` beside the file |
| other TSV, without quotes | tabs in the header | the file's folder |
| CSV with a header | anything else | the file's folder |

Tables name their columns as AUDIO_COLUMNS and TEXT_COLUMNS of `rows` do. All text is UTF-8.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from asrscale.common.errors import CliError
from asrscale.common.system_files import is_system_file
from asrscale.corpus.recordings import AudioRoot
from asrscale.corpus.rows import Row
from asrscale.corpus.source_lines import read_lines
from asrscale.corpus.source_manifests import read_json_lines, read_librispeech
from asrscale.corpus.source_tables import read_csv, read_ljspeech, read_tsv, recognise_bars
from asrscale.corpus.source_tars import read_tars


@dataclass(frozen=True)
class Source:
    """A corpus whose format is recognised.

    Attributes:
        read_rows: Reads the rows in the order of the source, from the first at each call; raises CliError, which names
            file and line, for a damaged one.
        audio_root: The folder or URL, or several, that the recordings' paths start from.
    """

    read_rows: Callable[[], Iterator[Row]]
    audio_root: AudioRoot


def recognise_source(path: str) -> Source:
    """Returns the source at `path`, whose format is one of the table above.

    Raises:
        CliError: The source cannot be read, or is a folder in which nothing is recognised.
    """
    return _recognise_folder(path) if os.path.isdir(path) else _recognise_file(path)


def _recognise_folder(folder: str) -> Source:
    """Looks for transcripts or tars in a folder and those below it, or else for a metadata.csv in the folder."""
    files = _files_below(folder)
    transcripts = [file for file in files if file.endswith(".trans.txt")]
    if transcripts:
        return Source(partial(read_librispeech, transcripts, folder), audio_root=folder)

    tars = [file for file in files if file.endswith(".tar")]
    if tars:
        return Source(partial(read_tars, tars), audio_root=folder)

    metadata = os.path.join(folder, "metadata.csv")
    if metadata in files:
        return _recognise_file(metadata)
    raise CliError(f"{folder}: a folder without *.trans.txt, metadata.csv or *.tar: give the file with transcripts")


def _recognise_file(path: str) -> Source:
    """Looks at a file's name, or else at its first line that is not blank."""
    folder = os.path.dirname(path)
    if path.endswith(".trans.txt"):
        return Source(partial(read_librispeech, [path], folder), audio_root=folder)
    if path.endswith(".tar"):
        return Source(partial(read_tars, [path]), audio_root=folder)

    first_line = next((line for line in read_lines(path) if line.strip()), "")
    if first_line.lstrip().startswith("{"):
        return Source(partial(read_json_lines, path), audio_root=folder)
    if "|" in first_line:
        return Source(partial(read_ljspeech, path, recognise_bars(path)), audio_root=os.path.join(folder, "wavs"))
    if "\t" in first_line:
        is_common_voice = "client_id" in first_line.rstrip("\r\n").split("\t")
        audio_root = os.path.join(folder, "clips") if is_common_voice else folder
        return Source(partial(read_tsv, path), audio_root=audio_root)
    return Source(partial(read_csv, path), audio_root=folder)


def _files_below(folder: str) -> list[str]:
    """Returns the paths of all files in a folder and the folders below it but those of operating systems, sorted."""
    paths: list[str] = []
    for parent, _, names in os.walk(folder):
        paths.extend(os.path.join(parent, name) for name in names)
    return sorted(path for path in paths if not is_system_file(os.path.relpath(path, folder)))
