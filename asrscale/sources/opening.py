"""Opens a source: its rows, and the folder that their recordings lie below."""

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from asrscale.common.errors import CliError
from asrscale.common.storage import is_remote
from asrscale.sources.cut_recordings import are_cut_out, print_cut_out, read_cut_out_rows
from asrscale.sources.folders import recognise_folder
from asrscale.sources.formats import Source, SourceOptions, recognise_file
from asrscale.sources.moved_paths import moved_prefixes, print_prefixes, read_moved_rows
from asrscale.sources.recordings import AudioRoot, roots_of
from asrscale.sources.rows import Row
from asrscale.sources.unpack import is_archive, unpack_archive


def open_source(path: str, audio_root: AudioRoot | None = None, options: SourceOptions | None = None) -> Source:
    """Returns a corpus of any format that `formats` or `folders` recognises.

    Where a manifest moved together with its recordings, or names them as another machine does, leading folders are
    removed from the rows' paths (`moved_paths`).

    Args:
        path: A file, a folder, or an archive of a folder.
        audio_root: The folders or URLs that the recordings' paths start from, by default that of the format.
        options: Which columns to read, and where to unpack; by default nothing is unpacked.

    Raises:
        CliError: The source is missing, empty or of no such format, or a row is damaged; names file and line.
    """
    source = _recognise(path, options or SourceOptions())
    first_row = next(source.read_rows(), None)
    if first_row is None:
        raise CliError(f"{path}: has no rows: it needs one for each recording")

    roots = tuple(root or "." for root in roots_of(audio_root or source.audio_root))
    root: AudioRoot = roots[0] if len(roots) == 1 else roots
    is_in_tars = first_row.tar is not None  # so no paths to look for, and to read all of them takes long
    prefixes = () if is_in_tars else moved_prefixes(source.read_rows, root, is_chosen=audio_root is not None)
    print_prefixes(path, prefixes)
    read_rows = partial(read_moved_rows, source.read_rows, prefixes) if prefixes else source.read_rows
    if are_cut_out(read_rows(), root):
        print_cut_out(path)
        read_rows = partial(read_cut_out_rows, read_rows)
    return replace(source, read_rows=read_rows, audio_root=root)


def _recognise(path: str, options: SourceOptions) -> Source:
    """Returns the source at a path, whatever lies there."""
    is_remote_folder = is_remote(path) and not path.startswith("http") and not os.path.splitext(path)[1]
    if os.path.isdir(path) or is_remote_folder:
        return recognise_folder(path, options)
    if os.path.isfile(path) and is_archive(path):
        if options.unpack_folder is None:
            raise CliError(f"{path}: a compressed archive: unpack it and give its folder")
        folder = unpack_archive(path, options.unpack_folder)
        source = recognise_folder(folder, options)
        return replace(source, read_rows=partial(_read_archived_rows, source, folder, path), home=folder)
    return recognise_file(path, options)


def _read_archived_rows(source: Source, folder: str, archive: str) -> Iterator[Row]:
    """Reads rows of what an archive was unpacked to; their source is in the archive, wherever that was."""
    for row in source.read_rows():
        yield replace(row, source=f"{archive}{row.source.removeprefix(folder)}")
