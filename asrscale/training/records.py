"""What a run writes down about its steps.

    RUN/metrics.jsonl      a line every --log_steps, made by `Meter`
    RUN/quarantine.jsonl   the damaged utterances, with the reason
    RUN/unaugmented/       the utterances of each rank that lack an effect of --augment that was drawn, with the reason
    RUN/skipped.jsonl      the steps whose gradient was not finite, with the keys of all their utterances
    RUN/ledger/            with --ledger, the keys that each rank visited in each step

What an attempt wrote of steps that are taken again is dropped.
"""

import math
import sys
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import Any

from asrscale.common import distributed
from asrscale.common.atomic_files import append_jsonl, drop_rows_after, sync
from asrscale.common.errors import CliError
from asrscale.data.loader import Damaged
from asrscale.data.step_reader import Step
from asrscale.training.checkpoint import RunState
from asrscale.training.disk_errors import disk_errors_explained
from asrscale.training.run_context import RunContext
from asrscale.training.tracking import METRICS_FILE

QUARANTINE_FILE = "quarantine.jsonl"
SKIPPED_FILE = "skipped.jsonl"
LEDGER_FOLDER = "ledger"
UNAUGMENTED_FOLDER = "unaugmented"

MIN_DAMAGED = 10  # with fewer, the share of damaged utterances means nothing


def open_records(context: RunContext, steps_done: int) -> int:
    """Drops what the records hold of steps that will be taken again. A collective.

    Returns:
        How many damaged utterances are left in the records.
    """
    damaged = 0
    with disk_errors_explained(context.folder, context.world, "the records of the run"):
        if context.world.is_main:
            of_ranks = [
                path for name in (LEDGER_FOLDER, UNAUGMENTED_FOLDER) for path in (context.folder / name).glob("*.jsonl")
            ]
            for path in (context.folder / SKIPPED_FILE, *of_ranks):
                drop_rows_after(path, steps_done)
            damaged = drop_rows_after(context.folder / QUARANTINE_FILE, steps_done)
    return round(distributed.all_reduce_sum([damaged], context.world)[0])


def record_visits(context: RunContext, step: Step) -> None:
    """Appends the keys of this rank's utterances to RUN/ledger: proof of what was visited."""
    row = {"step": step.number + 1, "keys": own_keys(step)}
    append_jsonl(_rank_file(context, LEDGER_FOLDER), [row], context.unwritten)


def record_unaugmented(context: RunContext, step: Step) -> None:
    """Appends this rank's utterances that lack an effect to RUN/unaugmented; says so when it is the first time."""
    if not step.unaugmented:
        return
    path = _rank_file(context, UNAUGMENTED_FOLDER)
    if not path.exists() and path not in context.unwritten:
        reason = step.unaugmented[0].reason
        print(f"warning: not all is applied that --augment drew: {reason}; listed in {path}", file=sys.stderr)
    rows = [_utterance_row(context, step, one.utterance, one.reason) for one in step.unaugmented]
    append_jsonl(path, rows, context.unwritten)


def sync_records(context: RunContext) -> None:
    """Makes what was written of the steps so far survive a power cut, as their checkpoint will. A collective."""
    for path in list(context.unwritten):
        append_jsonl(path, [], context.unwritten)
    shared = (QUARANTINE_FILE, SKIPPED_FILE, METRICS_FILE) if context.world.is_main else ()
    own = [_rank_file(context, name) for name in (LEDGER_FOLDER, UNAUGMENTED_FOLDER)]
    for path in (*(context.folder / name for name in shared), *own):
        with suppress(OSError):  # many have none
            sync(path)
    distributed.barrier()


def own_keys(step: Step) -> list[str]:
    """Returns the keys of this rank's good utterances, of several folders behind the names of these."""
    keys: list[str] = []
    for batch in step.batches:
        keys += [step.index.unique_key(int(number)) for number in batch.utterances]
    return keys


def count_skipped(context: RunContext, step: Step, state: RunState, gradient_norm: float | None) -> int:
    """Returns how many steps in a row, up to this one, had no finite gradient. A collective.

    Such a step is written to RUN/skipped.jsonl, with the keys of all ranks.

    Args:
        context: Of the run.
        step: The one that was taken.
        state: The position before it.
        gradient_norm: Of the step; None where no utterance was good.

    Raises:
        FloatingPointError: As many as --max_skipped_steps, where no loss scale is being searched for.
    """
    if gradient_norm is None or math.isfinite(gradient_norm):
        return 0
    path = context.folder / SKIPPED_FILE
    keys_of_ranks = distributed.gather_objects(own_keys(step), context.world)
    if context.world.is_main:
        keys = sorted(key for keys_of_rank in keys_of_ranks for key in keys_of_rank)
        append_jsonl(path, [_position(context, step) | {"keys": keys}], context.unwritten)
    count = state.skipped_steps + 1
    is_searching_scale = context.config.memory.precision == "fp16"
    if count >= context.config.optimisation.max_skipped_steps and not is_searching_scale:
        raise FloatingPointError(
            f"{count} steps in a row, up to step {step.number + 1}, have no finite gradient and changed no weight: "
            f"their utterances are in {path}; try a lower --learning_rate"
        )
    return count


def quarantine(context: RunContext, step: Step, damaged_so_far: int, visited: int) -> None:
    """Writes the damaged utterances of a step, of all ranks, to RUN/quarantine.jsonl. A collective.

    Args:
        context: Of the run.
        step: With this rank's damaged utterances.
        damaged_so_far: The damaged utterances of all steps up to this one, once for each visit.
        visited: All utterances of these steps, once for each visit.

    Raises:
        CliError: The damaged are more than --max_bad_fraction of the visited.
    """
    path = context.folder / QUARANTINE_FILE
    damaged_of_ranks = distributed.gather_objects([astuple(one) for one in step.damaged], context.world)
    if context.world.is_main:
        damaged = [Damaged(*one) for damaged_of_rank in damaged_of_ranks for one in damaged_of_rank]
        damaged.sort(key=lambda one: (one.utterance, one.reason))
        rows = [_utterance_row(context, step, one.utterance, one.reason) for one in damaged]
        append_jsonl(path, rows, context.unwritten)
    is_too_much = damaged_so_far > context.config.data.max_bad_fraction * visited
    if damaged_so_far >= MIN_DAMAGED and is_too_much:
        distributed.barrier()  # the launcher ends the other ranks with the first: let rank 0 finish its lines
        raise CliError(
            f"{damaged_so_far:,} of {visited:,} utterances are damaged, listed in {path}: copy or build their shards "
            "again, or raise --max_bad_fraction"
        )


def _utterance_row(context: RunContext, step: Step, utterance: int, reason: str) -> dict[str, Any]:
    """Returns the row of a record about an utterance of a step."""
    index = step.index
    return _position(context, step) | {
        "shard": index.shards[index.shard_ids[utterance]],
        "key": index.keys[utterance].as_py(),
        "reason": reason,
    }


def _position(context: RunContext, step: Step) -> dict[str, Any]:
    """Returns where a step is in the run, as rows of records begin."""
    return {"step": step.number + 1, "epoch": step.number // context.plan.steps_per_epoch}


def _rank_file(context: RunContext, record: str) -> Path:
    """Returns the file of this rank in the folder of a record."""
    return context.folder / record / f"rank-{context.world.rank:05d}.jsonl"
