"""Recognises the format of a file, and chooses its reader; of a folder, `folders` does.

A format has one reader: in `tables`, `manifests`, `tar_samples` or a module of its own, as `kaldi`. A new one gets a
reader there and a branch in `recognise_file` below.

| file | recognised by | audio root by default |
|---|---|---|
| LibriSpeech's *.trans.txt | the name | the folder |
| WebDataset tar | the name | the tar |
| Parquet with recordings, local or hf://datasets/… | its first bytes | the file's folder |
| Kaldi's wav.scp or text | the name, the other file beside it | the folder |
| MLS's transcripts.txt | the name | `audio` beside the file |
| lhotse's cuts; its recordings and supervisions | the members of the first object | the file's folder |
| JSON lines, as NeMo's; with `shard_id`, audio_0.tar … beside them | first character `{` | the file's folder |
| FLEURS's TSV without a header | seven fields | `SPLIT` or `audio/SPLIT` beside the file |
| VoxPopuli's asr_train.tsv | `id` and `normalized_text` in the header | the years' folders beside the file |
| LJSpeech's metadata.csv | bars between the fields, no header | `wavs` beside the file |
| TSV of Common Voice, without quotes | tabs in the header, a column `client_id` | `clips` beside the file |
| other TSV, without quotes | tabs in the header | the file's folder |
| CSV with a header | anything else | the file's folder |

Tables name their columns as AUDIO_COLUMNS and TEXT_COLUMNS of `rows` do. All text is UTF-8, and may be gzipped.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from asrscale.common.errors import CliError
from asrscale.common.storage import is_remote
from asrscale.sources.common_voice import clip_folders, clip_tars, read_rows_in_tars
from asrscale.sources.kaldi import RECORDINGS_FILE, TEXT_FILE, is_kaldi_folder, read_kaldi
from asrscale.sources.known_corpora import (
    MLS_FILE,
    VOXPOPULI_AUDIO,
    fleurs_folder,
    is_voxpopuli,
    read_mls,
    voxpopuli_folders,
)
from asrscale.sources.lhotse import kind_of_manifest, partner_manifest, read_cuts, read_supervisions
from asrscale.sources.lines import open_text_bytes, read_lines, read_objects, text_errors_as_cli_errors
from asrscale.sources.manifests import read_json_lines, read_librispeech
from asrscale.sources.parquet import read_parquet
from asrscale.sources.recordings import AudioRoot
from asrscale.sources.refusals import refuse_binary, refuse_text
from asrscale.sources.rows import ColumnNames, Row
from asrscale.sources.table_dialect import (
    FLEURS_COLUMNS,
    id_column_between_bars,
    is_recording,
    recognise_dialect,
    split_fields,
)
from asrscale.sources.tables import read_ljspeech, read_table, recognise_bars
from asrscale.sources.tar_samples import read_tars

PARQUET_MAGIC = b"PAR1"

TAR_MAGIC = b"ustar"
TAR_MAGIC_OFFSET = 257  # in its first header

_PROBED_BYTES = 512


@dataclass(frozen=True)
class Source:
    """A corpus whose format is recognised.

    Attributes:
        read_rows: Reads the rows in the order of the source, from the first at each call; raises CliError, which names
            file and line, for a damaged one.
        audio_root: The folder or URL, or several, that the recordings' paths start from.
        split_column: The column that names the split of each row; None where the source has no splits of its own.
        home: The folder that a table and its recordings lie in, where it is not that of the path: of an archive.
    """

    read_rows: Callable[[], Iterator[Row]]
    audio_root: AudioRoot
    split_column: str | None = None
    home: str | None = None


@dataclass(frozen=True)
class SourceOptions:
    """How a source is read.

    Attributes:
        names: The columns that the user names.
        unpack_folder: Where archives and the recordings in Parquet files are unpacked; None where they must not be.
    """

    names: ColumnNames = field(default_factory=ColumnNames)
    unpack_folder: str | None = None


def recognise_file(path: str, options: SourceOptions) -> Source:
    """Returns the source in a file, which is recognised by its name, its first bytes or its first line.

    Raises:
        CliError: The file cannot be read, or is of a known kind that is not read.
    """
    folder, name = os.path.split(path)
    if path.endswith(".trans.txt"):
        return Source(partial(read_librispeech, [path], folder), audio_root=folder)
    if path.endswith(".tar"):
        return Source(partial(read_tars, [path]), audio_root=folder)
    if name in (RECORDINGS_FILE, TEXT_FILE) and is_kaldi_folder(folder):
        return Source(partial(read_kaldi, folder), audio_root=folder)
    if name == MLS_FILE:
        return Source(partial(read_mls, path), audio_root=os.path.join(folder, "audio"))

    beginning = _beginning(path)
    if beginning.startswith(PARQUET_MAGIC):
        reader = partial(read_parquet, {"": [path]}, options.names, options.unpack_folder)
        return Source(reader, audio_root=folder)
    if beginning[TAR_MAGIC_OFFSET:].startswith(TAR_MAGIC):
        return Source(partial(read_tars, [path]), audio_root=folder)
    refuse_binary(path, beginning)
    return _recognise_text(path, options)


def _beginning(path: str) -> bytes:
    """Returns the first bytes of a file, or of what is gzipped in it."""
    with text_errors_as_cli_errors(path), open_text_bytes(path) as file:
        return file.read(_PROBED_BYTES)


def _recognise_text(path: str, options: SourceOptions) -> Source:
    """Looks at the first line of a text that is not blank."""
    folder = os.path.dirname(path)
    first_line = next((line for line in read_lines(path) if line.strip()), "")
    if not first_line:
        raise CliError(f"{path}: is empty: give a table with a line for each recording")
    refuse_text(path, first_line)
    if first_line.lstrip().startswith("{"):
        return _recognise_json_lines(path, options)
    dialect = recognise_dialect(path, first_line, options.names)
    if dialect is None:
        id_column = id_column_between_bars(first_line)
        if id_column:
            return _recognise_text(path, replace(options, names=replace(options.names, audio=id_column)))
        return _recognise_bars(path, first_line)
    header = split_fields(first_line, dialect.delimiter)
    if is_voxpopuli(header) and not options.names.audio:
        names = replace(options.names, audio=VOXPOPULI_AUDIO)
        return Source(partial(read_table, path, dialect, names), audio_root=voxpopuli_folders(path))
    read_rows = partial(read_table, path, dialect, options.names)
    if dialect.columns == FLEURS_COLUMNS:
        return Source(read_rows, audio_root=fleurs_folder(path))
    is_common_voice = "client_id" in header and dialect.delimiter == "\t"
    if is_common_voice:
        return _beside_clips(path, read_rows)
    wavs = os.path.join(folder, "wavs")
    is_beside_wavs = dialect.delimiter == "|" and os.path.isdir(wavs)  # like LJSpeech's, but with a header
    return Source(read_rows, audio_root=(wavs, folder) if is_beside_wavs else folder)


def _recognise_bars(path: str, first_line: str) -> Source:
    """Returns the source of a table like LJSpeech's; names with an extension may be beside it, too."""
    folder = os.path.dirname(path)
    wavs = os.path.join(folder, "wavs")
    has_extensions = is_recording(first_line.split("|")[0].strip())
    read_rows = partial(read_ljspeech, path, recognise_bars(path))
    return Source(read_rows, audio_root=(wavs, folder) if has_extensions else wavs)


def _recognise_json_lines(path: str, options: SourceOptions) -> Source:
    """Tells lhotse's manifests from others by the members of the first object."""
    folder = os.path.dirname(path)
    _, first_object = next(read_objects(path))
    kind = kind_of_manifest(first_object)
    if kind == "cuts":
        return Source(partial(read_cuts, path), audio_root=folder)
    if kind:
        return Source(partial(read_supervisions, *partner_manifest(path, kind)), audio_root=folder)
    return Source(partial(read_json_lines, path, options.names), audio_root=folder)


def _beside_clips(path: str, read_rows: Callable[[], Iterator[Row]]) -> Source:
    """Returns the source of a table whose recordings lie in `clips`, in numbered folders or in the hub's tars."""
    folders = clip_folders(path)
    tars = [] if is_remote(path) or os.path.isdir(folders[0]) else clip_tars(path)
    audio_root = folders[0] if len(folders) == 1 else folders
    if tars:
        return Source(partial(read_rows_in_tars, read_rows, tars), audio_root=audio_root)
    return Source(read_rows, audio_root=audio_root)
