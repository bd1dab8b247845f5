"""One shard: rows to a tar of audio and transcripts, in a worker process. Imports no torch.

A shard's bytes depend on its task and the recordings alone, not on who builds it or when. Until its folder is whole,
its record lies beside it, so that an interrupted build goes on where it was.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TypeAlias

from asrscale import __version__
from asrscale.common.atomic_files import open_no_link
from asrscale.corpus.packing import PackedRows, pack_rows
from asrscale.corpus.rejects import Reject, reject_row
from asrscale.corpus.shard_inputs import inputs_of, write_inputs
from asrscale.corpus.shard_record import ShardEntry, ShardRecord, read_record, write_record
from asrscale.corpus.shard_task import Task
from asrscale.corpus.tar_writer import write_end
from asrscale.sources.recordings import recording_file
from asrscale.speech.normalisation import steps_of

PAST_HOURS = "past max_hours: not in the sample"  # why a row is refused that fulfils the split's rules

LISTED_MARKUP = 100  # different annotations and tags of a shard that dataset.json counts, the most frequent

_WRITE_BUFFER_BYTES = 1 << 20

# The size of a file in bytes, and when it was changed, in nanoseconds: what a recording counts by.
FileStatus: TypeAlias = tuple[int, int]


def build_shard(task: Task, begin: Callable[[int], None]) -> Counter[str]:
    """Writes one shard, whole or not at all, unless an earlier build did.

    Args:
        task: The shard.
        begin: Is called with the number of a row before each work that is done for it.

    Returns:
        How many rows were rejected, by reason.

    Raises:
        RuntimeError: Our code raised over a row, and `task.stop` is set; names the row.
    """
    recordings = stat_recordings(task)
    made_of = hash_dependencies(task, recordings)
    record = read_record(task.path)
    if record is None or not _is_up_to_date(record, task, made_of):
        packed = pack_rows(task, None, begin) if task.codec == "in_place" else _write_tar(task, begin)
        record = _describe_shard(task, packed, made_of)
        write_record(task.path, record)
    if task.codec != "in_place":
        write_inputs(task.path, inputs_of(task.path, task.rows, task.refused, recordings))
    return Counter(reject.reason for reject in record.rejects)


def stat_recordings(task: Task) -> list[FileStatus | None]:
    """Returns for each row of a shard what its recording's file is now; None where it is missing."""
    recordings: list[FileStatus | None] = []
    for row in task.rows:
        try:
            status = os.stat(recording_file(row, task.audio_root) or "")
            recordings.append((status.st_size, status.st_mtime_ns))
        except (OSError, ValueError):
            recordings.append(None)
    return recordings


def hash_dependencies(task: Task, recordings: list[FileStatus | None]) -> str:
    """Returns a hash of all that the shard depends on; `recordings` are what `stat_recordings` returns."""
    settled = replace(task, stop=False, deaths=())
    dependencies = repr((__version__, settled, recordings, settled.rules.text, tuple(steps_of(settled.rules.text))))
    return hashlib.sha256(dependencies.encode("utf-8", "backslashreplace")).hexdigest()


def _is_up_to_date(record: ShardRecord, task: Task, made_of: str) -> bool:
    """Whether an earlier build made the same shard, and its tar is still what was recorded."""
    return record.made_of == made_of and record.shard.sha256 == _sha256(task.path)


def _describe_shard(task: Task, packed: PackedRows, made_of: str) -> ShardRecord:
    """Returns the record of a shard whose tar has just been written."""
    lengths = [utterance.num_samples for utterance in packed.utterances]
    entry = ShardEntry(
        file=os.path.basename(task.path),
        bytes=os.path.getsize(task.path),
        sha256=_sha256(task.path),
        utterances=len(lengths),
        samples=sum(lengths),
        longest_samples=max(lengths, default=0),
    )
    return ShardRecord(
        utterances=tuple(packed.utterances),
        rejects=tuple(packed.rejects),
        made_of=made_of,
        shard=entry,
        refused=refused_rows(task),
        markup=dict(packed.markup.most_common(LISTED_MARKUP)),
        symbols=dict(packed.symbols.most_common()),
    )


def refused_rows(task: Task) -> tuple[Reject, ...]:
    """Returns the lines of rejected.jsonl for the rows that are listed with a shard and are in none."""
    return tuple(reject_row(task.split, row, row.refused or PAST_HOURS) for row in task.refused)


def _write_tar(task: Task, begin: Callable[[int], None]) -> PackedRows:
    """Writes the tar under a temporary name, then gives it its own."""
    temporary = f"{task.path}.{os.getpid()}.tmp"  # not that of a worker whose parent has just been killed
    try:
        with open(temporary, "wb", buffering=_WRITE_BUFFER_BYTES, opener=open_no_link) as tar:
            packed = pack_rows(task, tar, begin)
            write_end(tar)
        os.replace(temporary, task.path)
    finally:
        with suppress(FileNotFoundError):
            os.remove(temporary)  # a full disk needs the room
    return packed


def _sha256(path: str) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
