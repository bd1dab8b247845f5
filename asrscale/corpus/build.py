"""Recordings and transcripts to WebDataset shards: the verb `build` of `python -m asrscale.shard`.

The output depends on the input and the options alone, byte for byte, and not on the number of workers or interruptions.
Rows lie in a temporary file and not in memory, where 16 bytes of each are kept. Imports no torch.
"""

import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace

import numpy as np

from asrscale.common.atomic_files import write_json
from asrscale.common.errors import EXIT_INTERRUPTED, CliError
from asrscale.common.progress import progress
from asrscale.common.workers import run_tasks, usable_cores
from asrscale.corpus.assemble import (
    Plan,
    assemble,
    counts,
    disk_errors_as_cli_errors,
    list_rejects,
    only_writer,
    part_file,
)
from asrscale.corpus.build_options import ShardOptions
from asrscale.corpus.build_plan import plan_build
from asrscale.corpus.shard_file import DEATHS_TO_BLAME, Task, build_shard
from asrscale.corpus.split_spool import Split
from asrscale.corpus.statistics import print_stats
from asrscale.data.catalog import DATASET_FILE
from asrscale.data.index import read_index

PROBED_ROWS = 1_000  # of each split are looked for before anything is decoded: a wrong audio root misses nearly all


MAX_DEATHS = 20  # of workers over one shard, each at another row: then it is the machine, not the rows


def build(options: ShardOptions) -> int | None:
    """Builds every split that is not there yet, or one part of them, and prints a summary.

    Raises:
        CliError: Bad options or input, a folder built with other options or being built, a full disk, more rejects than
            allowed, or a split that has no utterance.
    """
    started_seconds = time.monotonic()
    with disk_errors_as_cli_errors("TMPDIR", os.environ.get("TMPDIR", "/tmp")):
        spool = tempfile.TemporaryFile()  # noqa: SIM115  # closed below; without a name, nothing is left of it
        splits = plan_build(options, spool)
    with spool:
        todo = [split for split in splits if not _is_built(split)]
        for split in todo:
            _check_recordings(split)
        try:
            clips = _build_splits(todo, options) if todo else 0
        except KeyboardInterrupt:
            print(f"interrupted: run the same command again to finish {options.out}", file=sys.stderr)
            return EXIT_INTERRUPTED
    if options.parts == 1:
        print_stats([str(split.folder) for split in splits])
    if todo:
        seconds = time.monotonic() - started_seconds
        print(f"{clips:,} clips in {seconds:.1f} s: {clips / seconds:,.0f} clips/s")
    return None


def _is_built(split: Split) -> bool:
    """Whether the folder is whole and made by these settings; raises CliError where it was made by others."""
    try:
        found = json.loads((split.folder / DATASET_FILE).read_bytes())["options"]
        changed = sorted({key for key, _ in found.items() ^ split.settings.items()})
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        changed = [f"{DATASET_FILE} is damaged: {error!r}"]
    if changed:
        cure = "give another --out or delete the folder"
        raise CliError(f"{split.folder} was built with other options or input ({', '.join(changed)}): {cure}")
    try:
        read_index([str(split.folder)])
    except CliError as error:
        print(f"building {split.folder} again: {error}", file=sys.stderr)
        return False
    print(f"{split.folder}: already built")
    return True


def _check_recordings(split: Split) -> None:
    """Raises CliError where most of the recordings are not there, as when the audio root is wrong."""
    probed = list(split.read(split.rows[:: -(-len(split.rows) // PROBED_ROWS)]))
    paths = [(row, row.tar or os.path.join(split.audio_root, row.audio)) for row in probed]
    missing = [row for row, path in paths if "://" not in path and not os.path.exists(path)]
    if 2 * len(missing) > len(probed):
        row = missing[0]
        raise CliError(
            f"{row.source} line {row.line}: no file {os.path.join(split.audio_root, row.audio)} ({len(missing):,} of "
            f"{len(probed):,} files looked for are missing): set --audio_root to the folder that '{row.audio}' is in"
        )


def _build_splits(splits: list[Split], options: ShardOptions) -> int:
    """Builds the shards that are ours; with all of them, makes the folders whole. Returns how many rows they have."""
    part = part_file(options.out, options.part, options.parts) if options.parts > 1 else None
    plans = [split.plan() for split in splits]
    rows = sum(len(share) for split in splits for share in _shares(split, options))
    tasks = (task for split, plan in zip(splits, plans, strict=True) for task in _tasks(split, plan, options))
    with only_writer(options.out, part.stem if part else ""):
        for split in splits:
            split.folder.mkdir(parents=True, exist_ok=True)
            (split.folder / DATASET_FILE).unlink(missing_ok=True)  # from here on the folder is not whole
        do_tasks(tasks, rows, options.workers, options.max_rejected, options.out, plans)
        if part:
            write_json(part, plans)
        else:
            assemble(options.out, plans)
    return rows


def do_tasks(
    tasks: Iterable[Task], rows: int, workers: int | None, max_rejected: float, out: str, plans: list[Plan]
) -> None:
    """Builds shards in workers, by default one a core; CliError where too much is rejected, or workers keep dying."""
    rejected = Counter[str]()
    with (
        progress(rows, "sharding", "clips") as bar,
        closing(run_tasks(build_shard, tasks, workers or usable_cores(), _on_death, bar)) as built,
    ):
        for rejects in built:
            rejected.update(rejects)
            if rejected.total() > max_rejected * rows:
                break
    if rejected.total() > max_rejected * rows:
        list_rejects(out, plans)
        too_many = f"more than --max_rejected {max_rejected:.4g} of {rows:,} rows were rejected"
        raise CliError(f"{too_many} ({counts(rejected)}): see rejected.jsonl in {out}")


def _shares(split: Split, options: ShardOptions) -> Iterator[range]:
    """The places, in the split's order, of the rows of each shard that is ours."""
    size = options.shard_utterances
    for start in range(options.part * size, len(split.rows), options.parts * size):
        yield range(start, min(start + size, len(split.rows)))


def _tasks(split: Split, plan: Plan, options: ShardOptions) -> Iterator[Task]:
    """Reads the rows of each shard that is ours from the spool when a worker is free for it."""
    order = np.argsort(np.frombuffer(split.order, np.uint64), kind="stable")
    rows = np.frombuffer(split.rows, np.uint64)
    for share in _shares(split, options):
        number, shards = share.start // options.shard_utterances, plan["shards"]
        yield Task(
            path=str(split.folder / shards[number]),
            split=plan["name"],
            rows=tuple(split.read(rows[order[share.start : share.stop]].tolist())),
            audio_root=split.audio_root,
            rules=split.rules,
            codec=plan["options"]["codec"],
            stop=options.on_error == "stop",
            refused=tuple(split.read(split.refused[number :: len(shards)])),
        )


def _on_death(task: Task, number: int, exit_code: int) -> Task:
    """The shard again; a row over which workers keep dying is rejected then, or ends the build."""
    row, deaths = task.rows[number], (*task.deaths, number)
    named = f"{row.source} line {row.line} ({row.audio}): the worker process died over it (exit code {exit_code})"
    if task.stop and deaths.count(number) >= DEATHS_TO_BLAME:
        raise CliError(f"{named}, again when it was tried again: remove the row, or give --on_error quarantine")
    if len(deaths) > MAX_DEATHS:
        raise CliError(f"{named}, and over {MAX_DEATHS} rows before: is memory short? try fewer --workers")
    return replace(task, deaths=deaths)
