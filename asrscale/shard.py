"""Shards of speech: `python -m asrscale.shard [build] --csv FILE --out DIR`, and what else is done with shards."""

import hashlib
import json
import os
import sys
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from asrscale import cli
from asrscale.assemble import assemble, merge, only_writer
from asrscale.audio import decode_payload
from asrscale.build import ShardOptions, build, do_tasks
from asrscale.cli import setting
from asrscale.errors import EXIT_USAGE, AsrscaleError, CliError
from asrscale.index import DATASET_FILE, Catalog, read_catalog, read_shards
from asrscale.lint import Rules
from asrscale.pack import Task
from asrscale.progress import progress
from asrscale.report import print_stats
from asrscale.sources import Row, read_source, tar_members
from asrscale.storage import open_binary, read_bytes
from asrscale.workers import usable_cores

NAMED_PROBLEMS = 20  # of a shard: more of them are counted only


@dataclass(frozen=True)
class VerifyOptions:
    """Checks every byte of data set folders: shards against their checksums, records against the index."""

    data: tuple[str, ...] = setting(help="data set folders")


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


@dataclass(frozen=True)
class StatsOptions:
    """Tells what is in data set folders, and whether they share sentences or speakers."""

    data: tuple[str, ...] = setting(help="data set folders")
    html: str | None = setting(None, help="file for a page with plots and sound; a few of the recordings are in it")


@dataclass(frozen=True)
class MergeOptions:
    """Joins the parts of an array job (`--part I --parts N`): the same bytes as one build makes."""

    out: str = setting(help="the --out that the parts were built with, or a folder that their outputs were copied to")


def verify(folders: Sequence[str]) -> None:
    """Checks shards against their checksums, records against the index, that against the tars; CliError if damaged."""
    utterances = shards = problems = 0
    for folder in folders:
        catalog = read_catalog([folder])
        dataset = json.loads(read_bytes(os.path.join(folder, DATASET_FILE)))
        checksums = [str(shard["sha256"]) for shard in dataset["shards"]]
        check = partial(_problems_of_shard, catalog, checksums)
        with (
            progress(int(catalog.utterances.sum()), "verifying", "utterances") as bar,
            ThreadPoolExecutor(usable_cores()) as pool,  # hashing and decoding leave the interpreter's lock
        ):
            for number, found in enumerate(pool.map(check, range(len(checksums)))):
                for problem in found[:NAMED_PROBLEMS]:
                    print(f"{catalog.shards[number]}: {problem}")
                problems += len(found)
                bar.advance(int(catalog.utterances[number]))
        utterances += int(catalog.utterances.sum())
        shards += len(checksums)
    if problems:
        raise CliError(f"{problems:,} faults in {', '.join(folders)}: build what is named again, or copy it again")
    print(f"{utterances:,} utterances in {shards:,} shards are as they were built")


def _problems_of_shard(catalog: Catalog, checksums: Sequence[str], number: int) -> list[str]:
    """What is wrong with a shard, a line each."""
    path, problems = catalog.shards[number], []
    try:
        index = read_shards(catalog, [number])
        with open_binary(path) as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != checksums[number]:  # type: ignore[arg-type]
                problems.append("the checksum is not that of dataset.json")
            for i in range(len(index)):
                key, offset, size = index.keys[i].as_py(), int(index.offsets[i]), int(index.sizes[i])
                file.seek(offset)
                payload = file.read(size)
                if zlib.crc32(payload) != index.crc32[i]:
                    problems.append(f"{key}: the checksum is not that of the index")
                elif (length := len(decode_payload(payload))) != index.num_samples[i]:
                    problems.append(f"{key}: {length:,} samples, the index says {index.num_samples[i]:,}")
        members = {place.start: (name, place.size) for name, place in tar_members(path)}
        for key, offset, size in zip(index.keys.to_pylist(), index.offsets, index.sizes, strict=True):
            name, length = members.get(int(offset), ("", 0))
            if not name.startswith(f"{key}.") or length != size:
                problems.append(f"{key}: what the index calls so is no member of the tar")
    except (AsrscaleError, OSError) as error:
        problems.append(str(error))
    return problems


def index(options: IndexOptions) -> None:
    """Gives foreign tars an index; CliError where one or the manifest cannot be read, or too much is rejected."""
    names = sorted(path.name for path in Path(options.data).glob("*.tar"))
    if not names or Path(options.data, DATASET_FILE).exists():
        cure = f"correct --data, or delete its {DATASET_FILE}"
        raise CliError(f"{options.data}: no *.tar there, or indexed already: {cure}")
    tars: dict[str, list[Row]] = {os.path.join(options.data, name): [] for name in names}
    for row in read_source(options.manifest or options.data, options.data)[0]:
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
