"""Opens a source: its rows, and the folder that their recordings lie below."""

from dataclasses import replace
from functools import partial

from asrscale.common.errors import CliError
from asrscale.corpus.cut_recordings import are_cut_out, print_cut_out, read_cut_out_rows
from asrscale.corpus.moved_paths import moved_prefixes, print_prefixes, read_moved_rows
from asrscale.corpus.recordings import AudioRoot, roots_of
from asrscale.corpus.source_formats import Source, recognise_source


def open_source(path: str, audio_root: AudioRoot | None = None) -> Source:
    """Returns a corpus of any format that `source_formats` recognises.

    Where a manifest moved together with its recordings, or names them as another machine does, leading folders are
    removed from the rows' paths (`moved_paths`).

    Args:
        path: A file or a folder; a remote corpus must be a single file.
        audio_root: The folders or URLs that the recordings' paths start from, by default that of the format.

    Raises:
        CliError: The source is missing, empty or of no such format, or a row is damaged; names file and line.
    """
    source = recognise_source(path)
    if next(source.read_rows(), None) is None:
        raise CliError(f"{path}: has no rows: it needs one for each recording")

    roots = tuple(root or "." for root in roots_of(audio_root or source.audio_root))
    root: AudioRoot = roots[0] if len(roots) == 1 else roots
    prefixes = moved_prefixes(source.read_rows, root, is_chosen=audio_root is not None)
    print_prefixes(path, prefixes)
    read_rows = partial(read_moved_rows, source.read_rows, prefixes) if prefixes else source.read_rows
    if are_cut_out(read_rows(), root):
        print_cut_out(path)
        read_rows = partial(read_cut_out_rows, read_rows)
    return replace(source, read_rows=read_rows, audio_root=root)
