"""Builds shards in worker processes; ends a build where too much is rejected, or where workers keep dying."""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace

from asrscale.common.errors import CliError
from asrscale.common.progress import progress
from asrscale.common.workers import run_tasks, usable_cores
from asrscale.corpus.assemble import list_rejects
from asrscale.corpus.packing import DEATHS_TO_BLAME
from asrscale.corpus.rejects import REJECTED_FILE, format_counts
from asrscale.corpus.shard_file import build_shard
from asrscale.corpus.shard_task import Task
from asrscale.corpus.split_plan import SplitPlan

MAX_DEATHS = 20  # of workers over one shard, each at another row: then the machine is the cause, not the rows


def build_shards(
    tasks: Iterable[Task],
    *,
    num_rows: int,
    workers: int | None,
    max_rejected: float,
    out: str,
    plans: Sequence[SplitPlan],
) -> None:
    """Builds shards in worker processes and shows the progress.

    Args:
        tasks: The shards; each is taken when a worker is free for it.
        num_rows: How many rows they have together.
        workers: How many processes; None for one for each usable core.
        max_rejected: Share of the rows, from 0 to 1, that may be rejected.
        out: Folder for rejected.jsonl.
        plans: The splits that the shards belong to.

    Raises:
        CliError: More rows are rejected, which ends the build at once; or workers keep dying over a shard.
    """
    limit = max_rejected * num_rows
    rejected = Counter[str]()
    with progress(num_rows, "sharding", "clips") as bar:
        built_shards = run_tasks(
            build_shard,
            tasks,
            workers=workers or usable_cores(),
            on_death=_after_death,
            bar=bar,
        )
        with closing(built_shards):
            for rejects in built_shards:
                rejected.update(rejects)
                if rejected.total() > limit:
                    break
    if rejected.total() > limit:
        list_rejects(out, plans)
        too_many = f"more than --max_rejected {max_rejected:.4g} of {num_rows:,} rows were rejected"
        raise CliError(f"{too_many} ({format_counts(rejected)}): see {REJECTED_FILE} in {out}")


def _after_death(task: Task, number: int, exit_code: int) -> Task:
    """Returns the shard to be tried again after a worker died over one of its rows.

    Once enough workers have died over the row, it will be rejected.

    Args:
        task: The shard.
        number: The number of the row in hand.
        exit_code: Of the worker; negative for a signal.

    Raises:
        CliError: Workers keep dying over the row, and `task.stop` is set; or they die over one row after another.
    """
    row = task.rows[number]
    deaths = (*task.deaths, number)
    death = f"{row.source} line {row.line} ({row.audio}): the worker process died over it (exit code {exit_code})"
    if task.stop and deaths.count(number) >= DEATHS_TO_BLAME:
        raise CliError(f"{death}, again when it was tried again: remove the row, or give --on_error quarantine")
    if len(deaths) > MAX_DEATHS:
        raise CliError(f"{death}, and over {MAX_DEATHS} rows before: is memory short? try fewer --workers")
    return replace(task, deaths=deaths)
