"""What a build has to do: reads its sources and deals their rows to splits."""

import os
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from asrscale.common.addresses import clean_value
from asrscale.common.errors import CliError
from asrscale.common.storage import is_remote
from asrscale.corpus.build_options import ShardOptions, source_files
from asrscale.corpus.checks import Rules, read_rules
from asrscale.corpus.limit_hours import limit_hours
from asrscale.corpus.repeated_recordings import RepeatedRecordings
from asrscale.corpus.split_spool import Split, SpooledRows
from asrscale.corpus.splits import DRAWN_BY, SplitRules, assign_splits, wanted_splits
from asrscale.corpus.text_options import text_rules
from asrscale.sources.formats import Source, SourceOptions
from asrscale.sources.opening import open_source
from asrscale.sources.recordings import roots_of
from asrscale.sources.rows import ColumnNames, Row
from asrscale.sources.unpack import UNPACK_FOLDER

# Options that a folder's bytes depend on, as dataset.json records them. Those that have to be made comparable first,
# such as paths, are added by `_recorded_settings`.
RECORDED_OPTIONS = (
    "min_seconds",
    "max_seconds",
    "max_hours",
    "shard_utterances",
    "seed",
    "filter",
    "valid_fraction",
    "test_fraction",
)


def plan_build(options: ShardOptions, spool: IO[bytes]) -> list[Split]:
    """Reads the sources of a build and deals their rows to splits.

    Args:
        options: The options of the build.
        spool: An empty temporary file for the rows.

    Raises:
        CliError: --csv, --vocab or --filter is wrong, a source cannot be read, or no row is left for a split.
    """
    files = source_files(options.csv)
    rules = read_rules(
        options.min_seconds, options.max_seconds, options.vocab, (options.transcripts.language or "").lower()
    )
    splits: list[Split] = []
    for name, path in files.items():
        splits += _splits_of_source(path, name=name, options=options, rules=rules, spool=spool)
    if options.max_hours:
        limit_hours(splits, options.max_hours, options.seed)
    return splits


def _splits_of_source(
    path: str, *, name: str | None, options: ShardOptions, rules: Rules, spool: IO[bytes]
) -> list[Split]:
    """Reads one source and deals its rows to splits, which are returned in the order of their names.

    Args:
        path: The source.
        name: The split that all its rows are for; None where it is to be split.
        options: The options of the build.
        rules: What a recording and its transcript have to be.
        spool: A temporary file for the rows.
    """
    source_options = SourceOptions(
        names=ColumnNames(audio=options.audio_column, text=options.text_column, speaker=options.speaker_column),
        unpack_folder=os.path.join(options.out, UNPACK_FOLDER),
    )
    source = open_source(path, options.audio_root, source_options)
    if name and source.split_column:
        raise CliError(f"--csv {name}={path}: has splits of its own: give --csv {path}, or the table of one of them")
    rules = replace(rules, text=text_rules(options.transcripts, source.read_rows, options.filter))
    split_rules = SplitRules(
        by=f"={name}" if name else options.split_by or options.split_column or source.split_column,
        valid_fraction=options.valid_fraction,
        test_fraction=options.test_fraction,
        seed=options.seed,
        filter=options.filter,
        text=rules.text,
    )
    rows_by_split, rows_sha256, num_repeated = _deal_rows(source, split_rules, spool)
    _check_each_has_rows(rows_by_split, split_rules, path)
    settings = _recorded_settings(
        options,
        audio_root=",".join(
            _relative_root(root, source.home or os.path.dirname(path)) for root in roots_of(source.audio_root)
        ),
        split_by=split_rules.by,
        rules=rules,
        rows_sha256=rows_sha256,
    )
    return [
        Split(
            folder=Path(options.out, split),
            source=clean_value(path),
            audio_root=source.audio_root,
            rules=rules,
            settings=settings,
            rows=rows_by_split[split],
            repeated_recordings=num_repeated,
            language_is_given=options.transcripts.language is not None,
        )
        for split in sorted(rows_by_split)
    ]


def _deal_rows(source: Source, split_rules: SplitRules, spool: IO[bytes]) -> tuple[dict[str, SpooledRows], str, int]:
    """Reads all rows of a source into the spool.

    Returns:
        The rows of each split by its name, a hash of all rows in their order, and how many recordings have several
        texts.
    """
    rows_by_split: dict[str, SpooledRows] = {}
    content = sha256()
    repeated = RepeatedRecordings()
    for row, split in assign_splits(source.read_rows, split_rules):
        if split not in rows_by_split:
            rows_by_split[split] = SpooledRows(spool, salt=f"{split_rules.seed} {split}")
        rows_by_split[split].add(row)
        content.update(_content_of(row))
        repeated.add(row)
    return rows_by_split, content.hexdigest(), repeated.count()


def _recorded_settings(
    options: ShardOptions, *, audio_root: str, split_by: str | None, rules: Rules, rows_sha256: str
) -> dict[str, Any]:
    """Returns what dataset.json records of a build; the same folder is not built again with other settings."""
    recorded_options = {name: getattr(options, name) for name in RECORDED_OPTIONS}
    settings = (
        recorded_options
        | rules.text.changes
        | {
            "audio_root_from_csv": audio_root,
            "split_by": split_by,
            "codec": "original" if options.original else options.codec,
            "vocab_sha256": rules.fingerprint if options.vocab else None,
            "rows_sha256": rows_sha256,
        }
    )
    return {name: clean_value(value) if isinstance(value, str) else value for name, value in settings.items()}


def _relative_root(audio_root: str, folder: str) -> str:
    """Returns an audio root as seen from the source's folder, so that both may move together; a URL as it is."""
    if is_remote(audio_root):
        return audio_root
    return os.path.relpath(audio_root, folder or ".")


def _content_of(row: Row) -> bytes:
    """Returns all that the source says in a row, whatever the paths of the source and its tars are."""
    content = vars(row) | {"source": "", "tar": None}
    if not row.unusable:
        del content["unusable"]
    return repr(content).encode()


def _check_each_has_rows(rows_by_split: dict[str, SpooledRows], rules: SplitRules, path: str) -> None:
    """Raises CliError where a split has no row that goes into a shard."""
    is_drawn = rules.by is None or rules.by in DRAWN_BY
    wanted = wanted_splits(rules) if is_drawn else set(rows_by_split)
    filled = {split for split, rows in rows_by_split.items() if rows.kept}
    empty = wanted - filled
    if not empty:
        return
    cure = "give another --filter"
    if is_drawn:
        cure = "give another --valid_fraction or --filter, or a file for each split (--csv train=FILE,valid=FILE)"
    if rules.by in ("speaker", "both"):
        cure = f"its speakers may be too few, so give --split_by sentence, or {cure.removeprefix('give ')}"
    raise CliError(f"{path}: no row of it is left for {min(empty)}: {cure}")
