"""Makes a data set folder of a folder of WebDataset tars."""

import os
from dataclasses import dataclass
from pathlib import Path

from asrscale.common.cli import setting
from asrscale.common.errors import CliError
from asrscale.corpus.assemble import assemble, only_writer
from asrscale.corpus.build import do_tasks
from asrscale.corpus.checks import Rules
from asrscale.corpus.rows import Row
from asrscale.corpus.shard_file import Task
from asrscale.corpus.sources import open_source
from asrscale.corpus.statistics import print_stats
from asrscale.data.catalog import DATASET_FILE


@dataclass(frozen=True)
class IndexOptions:
    """Makes a data set folder of a folder of WebDataset tars, which stay as they are and are read once.

    A sample is audio of any rate with KEY.txt or "text" in KEY.json; in NeMo's layout, its text is in a manifest.
    """

    data: str = setting(help="folder of *.tar; index.parquet, dataset.json and rejected.jsonl are written there")
    manifest: str | None = setting(None, help="NeMo's manifest of the tars in --data")
    min_seconds: float = setting(0.1, help="shorter clips are rejected")
    max_seconds: float = setting(20.0, help="longer clips are rejected")
    max_rejected: float = setting(0.05, help="share of the samples, as 5%; no index is made when more are rejected")
    workers: int | None = setting(None, help="processes; by default one a usable core")


def index(options: IndexOptions) -> None:
    """Gives foreign tars an index; CliError where one or the manifest cannot be read, or too much is rejected."""
    names = sorted(path.name for path in Path(options.data).glob("*.tar"))
    if not names or Path(options.data, DATASET_FILE).exists():
        cure = f"correct --data, or delete its {DATASET_FILE}"
        raise CliError(f"{options.data}: no *.tar there, or indexed already: {cure}")
    tars: dict[str, list[Row]] = {os.path.join(options.data, name): [] for name in names}
    for row in open_source(options.manifest or options.data, options.data).read_rows():
        if (tar := row.tar or next(iter(tars))) not in tars:
            raise CliError(f"{tar} is not in {options.data}: give --data for each folder of tars")
        tars[tar].append(row)
    settings = {key: getattr(options, key) for key in ("manifest", "min_seconds", "max_seconds")}
    plan = {"name": ".", "source": options.data, "options": {"codec": "in_place", **settings}, "shards": names}
    rules = Rules(options.min_seconds, options.max_seconds)
    tasks = [Task(tar, ".", tuple(rows), options.data, rules, codec="in_place") for tar, rows in tars.items()]
    with only_writer(options.data):
        do_tasks(tasks, sum(map(len, tasks)), options.workers, options.max_rejected, options.data, [plan])
        assemble(options.data, [plan])
    print_stats([options.data])
