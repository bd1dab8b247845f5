"""What a run is, what its settings make due at a step, and what it writes down about its steps.

    RUN/metrics.jsonl      a line every --log_steps, made by `Meter`
    RUN/quarantine.jsonl   the damaged utterances, with the reason
    RUN/skipped.jsonl      the steps whose gradient was not finite, with the keys of all their utterances
    RUN/ledger/            with --ledger, the keys that each rank visited in each step

What an attempt wrote of steps that are taken again is dropped.
"""

import math
from contextlib import suppress
from typing import Any

from asrscale.common import distributed
from asrscale.common.atomic_files import append_jsonl, drop_rows_after, sync
from asrscale.common.errors import CliError
from asrscale.data.step_reader import Step
from asrscale.training.checkpoint import RunState
from asrscale.training.run_context import RunContext
from asrscale.training.tracking import METRICS_FILE

QUARANTINE_FILE, SKIPPED_FILE = "quarantine.jsonl", "skipped.jsonl"


LEDGER_FOLDER = "ledger"


MIN_DAMAGED = 10  # fewer say nothing about the share of damaged utterances


def open_records(job: RunContext, steps_done: int) -> int:
    """Drops what the records say of steps that will be taken again; returns how many damaged utterances are left there.

    A collective.
    """
    damaged = 0
    if job.world.is_main:
        for path in (job.folder / SKIPPED_FILE, *(job.folder / LEDGER_FOLDER).glob("*.jsonl")):
            drop_rows_after(path, steps_done)
        damaged = drop_rows_after(job.folder / QUARANTINE_FILE, steps_done)
    return round(distributed.all_reduce_sum([damaged], job.world)[0])


def record_visits(job: RunContext, step: Step) -> None:
    """Appends the keys of this rank's utterances to RUN/ledger: proof of what was visited, for whoever asks."""
    path = job.folder / LEDGER_FOLDER / f"rank-{job.world.rank:05d}.jsonl"
    append_jsonl(path, [{"step": step.number + 1, "keys": own_keys(step)}], job.unwritten)


def sync_records(job: RunContext) -> None:
    """Makes what was written of the steps so far survive a power cut, as their checkpoint will; a collective."""
    for path in list(job.unwritten):
        append_jsonl(path, [], job.unwritten)
    shared = (QUARANTINE_FILE, SKIPPED_FILE, METRICS_FILE) if job.world.is_main else ()
    for name in (*shared, f"{LEDGER_FOLDER}/rank-{job.world.rank:05d}.jsonl"):
        with suppress(OSError):  # many have none
            sync(job.folder / name)
    distributed.barrier()


def own_keys(step: Step) -> list[str]:
    """The keys of this rank's good utterances."""
    return [step.index.keys[int(number)].as_py() for batch in step.batches for number in batch.utterances]


def count_skipped(job: RunContext, step: Step, state: RunState, gradient_norm: float | None) -> int:
    """How many steps in a row, up to this one, had no finite gradient; a collective.

    Such a step is written to RUN/skipped.jsonl, with the keys of all ranks.

    Raises:
        FloatingPointError: As many as --max_skipped_steps, where no loss scale is being searched for.
    """
    if gradient_norm is None or math.isfinite(gradient_norm):
        return 0
    keys = sorted(key for part in distributed.gather_objects(own_keys(step), job.world) for key in part)
    if job.world.is_main:
        append_jsonl(job.folder / SKIPPED_FILE, [_where(job, step) | {"keys": keys}], job.unwritten)
    count = state.skipped_steps + 1
    if count >= job.config.optimisation.max_skipped_steps and job.config.memory.precision != "fp16":
        raise FloatingPointError(
            f"{count} steps in a row, up to step {step.number + 1}, have no finite gradient and changed no weight: "
            f"their utterances are in {job.folder / SKIPPED_FILE}; try a lower --learning_rate"
        )
    return count


def quarantine(job: RunContext, step: Step, damaged_so_far: int, visited: int) -> None:
    """Writes the damaged utterances of a step, of all ranks, to RUN/quarantine.jsonl; a collective.

    `damaged_so_far` and `visited` count the utterances of all steps up to this one, once for each epoch.

    Raises:
        CliError: The damaged are more than --max_bad_fraction of the visited.
    """
    path, index = job.folder / QUARANTINE_FILE, step.index
    gathered = distributed.gather_objects(step.damaged, job.world)
    if job.world.is_main:
        rows = []
        for number, reason in sorted((one.utterance, one.reason) for part in gathered for one in part):
            what = {"shard": index.shards[index.shard_ids[number]], "key": index.keys[number].as_py()}
            rows.append(_where(job, step) | what | {"reason": reason})
        append_jsonl(path, rows, job.unwritten)
    if damaged_so_far >= MIN_DAMAGED and damaged_so_far > job.config.data.max_bad_fraction * visited:
        distributed.barrier()  # the launcher ends the other ranks with the first: let rank 0 finish its lines
        raise CliError(
            f"{damaged_so_far:,} of {visited:,} utterances are damaged, listed in {path}: copy or build their shards "
            "again, or raise --max_bad_fraction"
        )


def _where(job: RunContext, step: Step) -> dict[str, Any]:
    return {"step": step.number + 1, "epoch": step.number // job.plan.steps_per_epoch}
