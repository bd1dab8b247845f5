"""Recordings and transcripts to WebDataset shards: the verb `build` of `python -m asrscale.shard`.

The output depends on the input and the options alone, byte for byte, and not on the number of workers or interruptions.
Rows lie in a temporary file and not in memory, where 16 bytes of each are kept. Imports no torch.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence

from asrscale.common.errors import EXIT_INTERRUPTED
from asrscale.common.output_folder import disk_errors_as_cli_errors, only_writer
from asrscale.corpus.array_job import finish_part, part_file
from asrscale.corpus.assemble import assemble
from asrscale.corpus.build_checks import check_recordings, has_same_settings, is_built, warn_of_repeated_recordings
from asrscale.corpus.build_options import ShardOptions
from asrscale.corpus.build_plan import plan_build
from asrscale.corpus.dataset_card import write_card
from asrscale.corpus.repair import repaired_shards, restore_records
from asrscale.corpus.shard_inputs import read_joined_inputs
from asrscale.corpus.shard_task import Task
from asrscale.corpus.shard_workers import build_shards
from asrscale.corpus.split_plan import SplitPlan
from asrscale.corpus.split_spool import Split
from asrscale.corpus.statistics_report import print_statistics
from asrscale.data.catalog import DATASET_FILE
from asrscale.sources.unpack import UNPACK_FOLDER


def build(options: ShardOptions) -> int | None:
    """Builds every split that is not built yet, or one part of them, and prints a summary.

    Returns:
        The exit code; None is success.

    Raises:
        CliError: Bad options or input, a folder built with other options or being built, a full disk, more rejects than
            allowed, or a split that has no utterance.
    """
    started_seconds = time.monotonic()
    with disk_errors_as_cli_errors("TMPDIR", os.environ.get("TMPDIR", "/tmp")):
        spool = tempfile.TemporaryFile()  # noqa: SIM115  # closed below; without a name, nothing is left of it
        splits = plan_build(options, spool)
    with spool:
        repaired = {split.folder.name: _repaired_shards(split, options) for split in splits if is_built(split)}
        todo = [split for split in splits if repaired.get(split.folder.name, frozenset()) is not None]
        for split in todo:
            check_recordings(split)
        try:
            clips = _build_splits(todo, repaired, options) if todo else 0
        except KeyboardInterrupt:
            print(f"interrupted: run the same command again to finish {options.out}", file=sys.stderr)
            return EXIT_INTERRUPTED
    if options.parts == 1:
        print_statistics([str(split.folder) for split in splits])
        warn_of_repeated_recordings(todo)
    unpacked = os.path.join(options.out, UNPACK_FOLDER)
    if os.path.isdir(unpacked):
        print(f"{unpacked}: recordings that were unpacked for the build: delete it once no build needs them")
    if todo:
        seconds = time.monotonic() - started_seconds
        print(f"{clips:,} clips in {seconds:.1f} s: {clips / seconds:,.0f} clips/s")
    return None


def _repaired_shards(split: Split, options: ShardOptions) -> frozenset[str] | None:
    """Returns which shards of a complete folder to build again, as their recordings were repaired since; says so.

    None is for a folder that stays as it is; without shards, only what is recorded of its input changes.
    """
    recorded = read_joined_inputs(options.out, split.folder.name) if options.parts == 1 else {}
    repaired = repaired_shards(_tasks_of_split(split, split.plan(), options), recorded) if recorded else frozenset()
    if repaired or (recorded and not has_same_settings(split)):
        shards = f"{len(repaired):,} of {len(recorded):,} shards"
        print(f"{split.folder}: building {shards} again, whose recordings were added or changed since")
    else:
        print(f"{split.folder}: already built")
        return None
    return repaired


def _build_splits(splits: Sequence[Split], repaired: Mapping[str, frozenset[str] | None], options: ShardOptions) -> int:
    """Builds the shards of this part and, where there are no other parts, completes the folders.

    Args:
        splits: The splits.
        repaired: Of those that are complete, by their names, the shards to build again.
        options: Those of the build.

    Returns:
        How many rows the shards have.
    """
    part = part_file(options.out, options.part, options.parts) if options.parts > 1 else None
    plans = [split.plan() for split in splits]
    num_rows = sum(_num_rows(split, options) for split in splits)
    with only_writer(options.out, part.stem if part else ""):
        for split, plan in zip(splits, plans, strict=True):
            split.folder.mkdir(parents=True, exist_ok=True)
            repaired_in_split = repaired.get(plan.name)
            if repaired_in_split is not None:
                tasks = _tasks_of_split(split, plan, options)
                restore_records(options.out, split.folder, tasks, repaired_in_split)
            (split.folder / DATASET_FILE).unlink(missing_ok=True)  # from here on the folder is not complete
        build_shards(
            _tasks(splits, plans, options),
            num_rows=num_rows,
            workers=options.workers,
            max_rejected=options.max_rejected,
            out=options.out,
            plans=plans,
        )
        if part:
            finish_part(part, plans)
        else:
            assemble(options.out, plans)
            write_card(options.out)
    return num_rows


def _num_rows(split: Split, options: ShardOptions) -> int:
    """Returns how many rows the shards of this part have."""
    return sum(len(places) for places in _shards_of_part(split, options))


def _shards_of_part(split: Split, options: ShardOptions) -> Iterator[range]:
    """Yields, for each shard of this part, the places of its rows in the split's order."""
    num_rows = len(split.rows.kept)
    size = options.shard_utterances
    for start in range(options.part * size, num_rows, options.parts * size):
        yield range(start, min(start + size, num_rows))


def _tasks(splits: Sequence[Split], plans: Sequence[SplitPlan], options: ShardOptions) -> Iterator[Task]:
    """Yields the shards of this part; reads their rows from the spool when a worker is free for them."""
    for split, plan in zip(splits, plans, strict=True):
        yield from _tasks_of_split(split, plan, options)


def _tasks_of_split(split: Split, plan: SplitPlan, options: ShardOptions) -> Iterator[Task]:
    positions = split.rows.shuffled()
    for places in _shards_of_part(split, options):
        number = places.start // options.shard_utterances
        own_positions = positions[places.start : places.stop].tolist()
        refused_positions = split.rows.refused[number :: len(plan.shards)]
        yield Task(
            path=str(split.folder / plan.shards[number]),
            split=plan.name,
            rows=tuple(split.rows.read(own_positions)),
            audio_root=split.audio_root,
            rules=split.rules,
            codec=plan.options["codec"],
            stop=options.on_error == "stop",
            refused=tuple(split.rows.read(refused_positions)),
        )
