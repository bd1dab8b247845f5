"""Recognises the format of a folder, and what its files have to do with each other.

| folder | recognised by | split of a row |
|---|---|---|
| lhotse's Shar | cuts.000000.jsonl.gz | drawn |
| NeMo's tars | tarred_audio_manifest.json, or manifest_0.json in `sharded_manifests` | drawn |
| Kaldi's data folder | wav.scp and text | drawn |
| Common Voice, any release, and others with a table for each split | train.tsv, cv-valid-dev.csv … | the table's |
| Common Voice on the hub | transcript/LANGUAGE/train.tsv | the table's |
| one of these, or metadata.csv or .jsonl, for each split | a folder `train`, `test` … | the folder's |
| LibriSpeech | *.trans.txt, in it or below | drawn |
| WebDataset tars | *.tar, in it or below | drawn |
| Parquet files, local or hf://datasets/… | *.parquet, in it or below | that of their names |
| audio folder | metadata.csv or .jsonl | that of the recordings' folders, where they have some |
| a folder in which there is nothing but one of these | | |

A row's own split counts where the source has several, and `--split_by` does not say otherwise.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import count

from asrscale.common.errors import CliError
from asrscale.common.storage import is_remote, list_files
from asrscale.common.system_files import is_system_file
from asrscale.sources.common_voice import split_tables, transcript_folder
from asrscale.sources.formats import Source, SourceOptions, recognise_file
from asrscale.sources.kaldi import is_kaldi_folder, read_kaldi
from asrscale.sources.known_corpora import MLS_FILE
from asrscale.sources.lhotse import is_shar, read_shar
from asrscale.sources.manifests import has_sharded_manifests, read_librispeech, read_sharded_manifests
from asrscale.sources.parquet import read_parquet
from asrscale.sources.recordings import roots_of
from asrscale.sources.rows import Row
from asrscale.sources.split_names import SPLIT_COLUMN, split_in_name
from asrscale.sources.table_dialect import is_recording
from asrscale.sources.tar_samples import read_tars

NEMO_MANIFEST = "tarred_audio_manifest.json"  # that of tars, beside them

_METADATA_FILES = ("metadata.csv", "metadata.jsonl", "metadata.tsv", "metadata.parquet")

_KNOWN = "*.trans.txt, metadata.csv, *.tar, *.parquet, train.tsv, wav.scp or cuts.*.jsonl.gz"


def recognise_folder(folder: str, options: SourceOptions) -> Source:
    """Returns the source in a folder, local or remote; remote ones are of Parquet files.

    Raises:
        CliError: Nothing is recognised in it, or it is not clear what to take.
    """
    if is_remote(folder):
        return _recognise_remote(folder, options)
    source = _recognise_own_files(folder, options) or _recognise_splits(folder, options)
    if source:
        return source
    files = _files_below(folder)
    transcripts = [file for file in files if file.endswith(".trans.txt")]
    if transcripts:
        return Source(partial(read_librispeech, transcripts, folder), audio_root=folder)
    tars = [file for file in files if file.endswith(".tar")]
    if tars:
        return Source(partial(read_tars, tars), audio_root=folder)
    metadata = _metadata_file(folder)
    if metadata:
        return _recognise_audio_folder(folder, recognise_file(metadata, options))
    parquets = [file for file in files if file.endswith(".parquet")]
    if parquets:
        return _parquet_source(folder, parquets, options)
    for table in split_tables(transcript_folder(folder) or folder).values():  # one at most
        return recognise_file(table, options)
    return _recognise_inner_folder(folder, options)


def _recognise_own_files(folder: str, options: SourceOptions) -> Source | None:
    """Recognises a folder by the names of the files directly in it."""
    names = os.listdir(folder)
    if is_shar(names):
        return Source(partial(read_shar, folder), audio_root=folder)
    if is_kaldi_folder(folder):
        return Source(partial(read_kaldi, folder), audio_root=folder)
    if has_sharded_manifests(names):
        return Source(partial(read_sharded_manifests, folder, options.names), audio_root=folder)
    if NEMO_MANIFEST in names:
        return recognise_file(os.path.join(folder, NEMO_MANIFEST), options)
    transcripts = os.path.join(folder, MLS_FILE)
    if os.path.exists(transcripts):
        return recognise_file(transcripts, options)
    tables = {} if _metadata_file(folder) else split_tables(transcript_folder(folder) or folder)
    if len(tables) > 1 or "" in tables:
        return _join({split: recognise_file(table, options) for split, table in tables.items()}, folder)
    return None


def _recognise_splits(folder: str, options: SourceOptions) -> Source | None:
    """Recognises a folder with a folder for each split; tars and LibriSpeech's folders are no such splits."""
    if _metadata_file(folder):
        return None
    folders: dict[str, str] = {}
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        split = split_in_name(name)
        if not split or not os.path.isdir(path) or not _has_own_files(path):
            continue
        if split in folders:
            cure = f"give the one to use, as in --csv {split}={path}"
            raise CliError(f"{folder}: {os.path.basename(folders[split])} and {name} are both for {split}: {cure}")
        folders[split] = path
    if not folders:
        return None
    return _join({split: recognise_folder(path, options) for split, path in folders.items()}, folder)


def _has_own_files(folder: str) -> bool:
    """Whether a folder is recognised by files directly in it."""
    names = os.listdir(folder)
    return is_shar(names) or is_kaldi_folder(folder) or MLS_FILE in names or _metadata_file(folder) is not None


def _metadata_file(folder: str) -> str | None:
    """Returns the table of an audio folder, where it has one."""
    paths = [os.path.join(folder, name) for name in _METADATA_FILES]
    return next((path for path in paths if os.path.isfile(path)), None)


def _recognise_audio_folder(folder: str, source: Source) -> Source:
    """Returns the source of a table whose recordings may lie in a folder for each split: `train/a.wav`."""
    splits = {split_in_name(entry.name) for entry in os.scandir(folder) if entry.is_dir()} - {""}
    if len(splits) < 2:
        return source
    return replace(source, read_rows=partial(_read_with_folder_splits, source), split_column=SPLIT_COLUMN)


def _read_with_folder_splits(source: Source) -> Iterator[Row]:
    """Reads rows with the split that their recording's folder is named as; without one it is train."""
    for row in source.read_rows():
        split = split_in_name(os.path.dirname(row.audio)) or "train"
        yield replace(row, extra=row.extra | {SPLIT_COLUMN: split})


def _join(sources: Mapping[str, Source], folder: str) -> Source:
    """Returns one source of those of several splits: rows are numbered through, and have the name of their split."""
    if len(sources) == 1:
        return next(iter(sources.values()))
    return Source(partial(_read_joined, sources, folder), audio_root=folder, split_column=SPLIT_COLUMN)


def _read_joined(sources: Mapping[str, Source], folder: str) -> Iterator[Row]:
    """Reads the rows of several sources, whose paths then start from `folder`."""
    numbers = count(1)
    for split, source in sources.items():
        roots = roots_of(source.audio_root)
        for row in source.read_rows():
            is_placed = row.tar is not None or is_remote(row.audio)
            audio = row.audio if is_placed else _path_from(folder, roots, row.audio)
            yield replace(row, line=next(numbers), audio=audio, extra=row.extra | {SPLIT_COLUMN: split})


def _path_from(folder: str, roots: tuple[str, ...], audio: str) -> str:
    """Returns the path from `folder` of a recording below the first of `roots` that has it, else the first root."""
    root = next((root for root in roots if os.path.exists(os.path.join(root, audio))), roots[0])
    return os.path.join(os.path.relpath(root or ".", folder), audio) if root != folder else audio


def _recognise_inner_folder(folder: str, options: SourceOptions) -> Source:
    """Recognises what is in the only folder of a folder, or in the only one that has tables for splits."""
    folders = [entry for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith(".")]
    inner = [entry.path for entry in folders if not is_system_file(entry.name)]
    with_tables = sorted(path for path in inner if split_tables(path))
    chosen = with_tables or inner
    if len(with_tables) > 1:
        names = ", ".join(os.path.basename(path) for path in with_tables)
        raise CliError(f"{folder}: has {names}: give one, as in --csv {with_tables[0]}")
    if len(chosen) == 1:
        return recognise_folder(chosen[0], options)
    if _has_text_beside_recordings(folder):
        cure = f"pack them, as with tar cf NEW.tar -C {folder} ., and give NEW.tar"
        raise CliError(f"{folder}: a folder of recordings with a .txt beside each: {cure}")
    raise CliError(f"{folder}: a folder without {_KNOWN}: give the file with transcripts")


def _has_text_beside_recordings(folder: str) -> bool:
    """Whether some recording in a folder, or below it, has a text of the same name."""
    files = set(_files_below(folder))
    return any(f"{os.path.splitext(file)[0]}.txt" in files for file in files if is_recording(file))


def _recognise_remote(url: str, options: SourceOptions) -> Source:
    """Recognises a remote folder, which must be of Parquet files."""
    try:
        files = list_files(url)
    except OSError as error:
        raise CliError(f"{error}: give the URL of a file, or of a folder of *.parquet") from error
    parquets = [file for file in files if file.endswith(".parquet")]
    if not parquets:
        raise CliError(f"{url}: a remote folder without *.parquet: give the URL of a file, or download the folder")
    return _parquet_source(url.rstrip("/"), parquets, options)


def _parquet_source(folder: str, files: list[str], options: SourceOptions) -> Source:
    """Returns the source of Parquet files, each of the split that its path names; without splits where all name one."""
    files_by_split: defaultdict[str, list[str]] = defaultdict(list)
    subsets_by_split: defaultdict[str, set[str]] = defaultdict(set)
    for file in files:
        name = file.removeprefix(folder).lstrip("/")
        split = split_in_name(name)
        files_by_split[split or "train"].append(file)
        subsets_by_split[split].add(_subset_of(name))
    for split, subsets in subsets_by_split.items():
        if split and len(subsets) > 1:
            names = ", ".join(sorted(subsets))
            raise CliError(f"{folder}: has several subsets, {names}: give one, as in --csv {folder}/{min(subsets)}")
    has_splits = len(files_by_split) > 1
    paths_by_split = dict(files_by_split) if has_splits else {"": files}
    return Source(
        partial(read_parquet, paths_by_split, options.names, options.unpack_folder),
        audio_root=folder,
        split_column=SPLIT_COLUMN if has_splits else None,
    )


def _subset_of(name: str) -> str:
    """Returns the folders of a file that name no split, as a subset: of `clean/train/0.parquet` it is `clean`."""
    folders = os.path.dirname(name).split("/")
    return "/".join(folder for folder in folders if not split_in_name(folder))


def _files_below(folder: str) -> list[str]:
    """Returns the paths of all files in a folder and the folders below it but those of operating systems, sorted."""
    paths: list[str] = []
    for parent, _, names in os.walk(folder):
        paths.extend(os.path.join(parent, name) for name in names)
    return sorted(path for path in paths if not is_system_file(os.path.relpath(path, folder)))
