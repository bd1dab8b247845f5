"""Makes a data set folder of a folder of WebDataset tars: the verb `index` of `python -m asrscale.shard`."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from asrscale.common.cli import setting
from asrscale.common.errors import CliError
from asrscale.common.output_folder import only_writer
from asrscale.common.system_files import is_system_file
from asrscale.corpus.assemble import assemble, remove_records
from asrscale.corpus.checks import Rules
from asrscale.corpus.shard_task import Task
from asrscale.corpus.shard_workers import build_shards
from asrscale.corpus.split_plan import SplitPlan
from asrscale.corpus.statistics_report import print_statistics
from asrscale.corpus.text_options import TextOptions, text_rules
from asrscale.data.catalog import DATASET_FILE
from asrscale.sources.opening import open_source
from asrscale.sources.rows import Row
from asrscale.sources.tar_samples import read_tars
from asrscale.speech.normalisation import TextRules

_THIS_FOLDER = "."  # the split's name: its folder is --data itself


@dataclass(frozen=True)
class IndexOptions:
    """Makes a data set folder of a folder of WebDataset tars, which are read once and not changed.

    A sample is audio of any rate with KEY.txt or "text" in KEY.json; in NeMo's layout, its text is in a manifest.
    """

    data: str = setting(help="folder of *.tar; index.parquet, dataset.json and rejected.jsonl are written there")
    manifest: str | None = setting(None, help="NeMo's manifest of the tars in --data")
    min_seconds: float = setting(0.1, help="shorter clips are rejected")
    max_seconds: float = setting(20.0, help="longer clips are rejected")
    max_rejected: float = setting(0.05, help="share of the samples, as 5%; no index is made when more are rejected")
    workers: int | None = setting(None, help="how many processes; by default one for each usable core")
    transcripts: TextOptions = field(default_factory=TextOptions)


def index(options: IndexOptions) -> None:
    """Writes an index of foreign tars and prints a summary.

    Raises:
        CliError: A tar or the manifest cannot be read, or too much is rejected.
    """
    names = _tars_to_index(options.data)
    read_rows = _reader_of_rows(options, names)
    text = text_rules(options.transcripts, read_rows)
    plan = SplitPlan(name=_THIS_FOLDER, source=options.data, options=_settings_of(options, text), shards=tuple(names))
    tasks = _tasks(options, read_rows(), text, names)
    with only_writer(options.data), _nothing_left_of_a_failure(options.data, plan):
        build_shards(
            tasks,
            num_rows=sum(len(task) for task in tasks),
            workers=options.workers,
            max_rejected=options.max_rejected,
            out=options.data,
            plans=[plan],
        )
        assemble(options.data, [plan])
    print_statistics([options.data])


@contextmanager
def _nothing_left_of_a_failure(folder: str, plan: SplitPlan) -> Iterator[None]:
    """Removes the records beside the user's tars where an index fails; one that is interrupted goes on with them."""
    try:
        yield
    except Exception:
        remove_records(folder, plan)
        raise


def _tars_to_index(folder: str) -> list[str]:
    """Returns the file names of a folder's tars; raises CliError where it has none, or has an index."""
    names = sorted(path.name for path in Path(folder).glob("*.tar") if not is_system_file(path.name))
    if not names or Path(folder, DATASET_FILE).exists():
        cure = f"correct --data, or delete its {DATASET_FILE}"
        raise CliError(f"{folder}: no *.tar there, or indexed already: {cure}")
    return names


def _settings_of(options: IndexOptions, text: TextRules) -> dict[str, object]:
    """Returns what dataset.json records of the options."""
    return text.changes | {
        "codec": "in_place",
        "manifest": options.manifest,
        "min_seconds": options.min_seconds,
        "max_seconds": options.max_seconds,
    }


def _tasks(options: IndexOptions, rows: Iterable[Row], text: TextRules, names: Sequence[str]) -> list[Task]:
    """Returns a task for each tar."""
    rules = Rules(options.min_seconds, options.max_seconds, text=text)
    return [
        Task(
            path=tar,
            split=_THIS_FOLDER,
            rows=tuple(own_rows),
            audio_root=options.data,
            rules=rules,
            codec="in_place",
        )
        for tar, own_rows in _rows_by_tar(options.data, rows, names).items()
    ]


def _reader_of_rows(options: IndexOptions, names: Sequence[str]) -> Callable[[], Iterable[Row]]:
    """Returns what reads all samples, from the first on at each call."""
    if options.manifest:
        return open_source(options.manifest, options.data).read_rows
    return partial(read_tars, [os.path.join(options.data, name) for name in names])


def _rows_by_tar(folder: str, rows: Iterable[Row], names: Sequence[str]) -> dict[str, list[Row]]:
    """Returns the samples of each tar; raises CliError where one is in a tar that is not among `names`."""
    tars = [os.path.join(folder, name) for name in names]
    rows_by_tar: dict[str, list[Row]] = {tar: [] for tar in tars}
    for row in rows:
        tar = row.tar or tars[0]  # one that no tar has is rejected with the first: it is not below --data either
        if tar not in rows_by_tar:
            raise CliError(f"{tar} is not in {folder}: give --data for each folder of tars")
        rows_by_tar[tar].append(row)
    return rows_by_tar
