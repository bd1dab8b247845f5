"""Shards of speech: `python -m asrscale.shard [build] --csv FILE --out DIR`, and what else is done with shards."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from asrscale import cli
from asrscale.assemble import assemble, merge, only_writer
from asrscale.build import ShardOptions, build, do_tasks
from asrscale.cli import setting
from asrscale.errors import EXIT_USAGE, CliError
from asrscale.index import DATASET_FILE
from asrscale.lint import Rules
from asrscale.pack import Task
from asrscale.shardtools import print_stats, verify
from asrscale.sources import Row, read_source
from asrscale.workers import usable_cores


@dataclass(frozen=True)
class VerifyOptions:
    """Checks every byte of data set folders: shards against their checksums, records against the index."""

    data: tuple[str, ...] = setting(help="data set folders")


@dataclass(frozen=True)
class IndexOptions:
    """Makes a data set folder of a folder of WebDataset tars, which stay as they are and are read once.

    A sample is audio that libsndfile reads, of any rate, with KEY.txt or "text" in KEY.json; in NeMo's layout, audio
    alone, with its text in a manifest.
    """

    data: str = setting(help="folder of *.tar; index.parquet, dataset.json and rejected.jsonl are written there")
    manifest: str | None = setting(None, help="NeMo's manifest of the tars in --data")
    min_seconds: float = setting(0.1, help="shorter clips are rejected")
    max_seconds: float = setting(20.0, help="longer clips are rejected")
    max_rejected: float = setting(0.05, help="share of the samples, as 5%; no index is made when more are rejected")
    workers: int | None = setting(None, help="processes; by default one a usable core")


@dataclass(frozen=True)
class StatsOptions:
    """Tells what is in data set folders, and whether they share sentences or speakers."""

    data: tuple[str, ...] = setting(help="data set folders")
    html: str | None = setting(None, help="file for a page with plots and sound; a few of the recordings are in it")


@dataclass(frozen=True)
class MergeOptions:
    """Joins the parts of an array job (`--part I --parts N`): the same bytes as one build makes."""

    out: str = setting(help="the --out that the parts were built with, or a folder that their outputs were copied to")


def index(options: IndexOptions) -> None:
    """Gives foreign tars an index.

    Raises:
        CliError: A tar or the manifest cannot be read, or too much is rejected.
    """
    tars: dict[str, list[Row]] = {os.path.join(options.data, name): [] for name in _tar_names(options.data)}
    for row in read_source(options.manifest or options.data, options.data)[0]:
        if (tar := row.tar or next(iter(tars))) not in tars:
            raise CliError(f"{tar} is not in {options.data}: give --data for each folder of tars")
        tars[tar].append(row)
    settings = {key: getattr(options, key) for key in ("manifest", "min_seconds", "max_seconds")}
    names = [os.path.basename(tar) for tar in tars]
    plan = {"name": ".", "source": options.data, "options": {"codec": "in_place", **settings}, "shards": names}
    rules = Rules(options.min_seconds, options.max_seconds)
    tasks = [Task(tar, ".", tuple(rows), options.data, rules, codec="in_place") for tar, rows in tars.items()]
    with only_writer(options.data):
        workers = min(options.workers or usable_cores(), len(tasks))
        do_tasks(tasks, sum(map(len, tasks)), workers, options.max_rejected, options.data, [plan])
        assemble(options.data, [plan])
    print_stats([options.data])


def _tar_names(folder: str) -> list[str]:
    names = sorted(path.name for path in Path(folder).glob("*.tar"))
    if not names or Path(folder, DATASET_FILE).exists():
        raise CliError(f"{folder}: no *.tar there, or indexed already: correct --data, or delete its {DATASET_FILE}")
    return names


VERBS: dict[str, tuple[type[Any], Any]] = {
    "build": (ShardOptions, build),
    "verify": (VerifyOptions, lambda options: verify(options.data)),
    "index": (IndexOptions, index),
    "stats": (StatsOptions, lambda options: print_stats(options.data, options.html)),
    "merge": (MergeOptions, lambda options: print_stats(merge(options.out))),
}


def main(words: list[str]) -> NoReturn:
    """Runs the verb that the words begin with, by default `build`."""
    verb, flags = (words[0], words[1:]) if words and not words[0].startswith("-") else ("build", words)
    if verb not in VERBS:
        print(f"error: no verb '{verb}': choose one of {', '.join(VERBS)}", file=sys.stderr)
        sys.exit(EXIT_USAGE)
    cli.run(*VERBS[verb], flags)


if __name__ == "__main__":
    main(sys.argv[1:])
