"""Opens a data set folder that is whole again, where recordings of some of its shards were repaired."""

import json
from collections.abc import Iterable, Iterator, Set
from pathlib import Path

from asrscale.common.atomic_files import read_jsonl
from asrscale.corpus.rejects import REJECTED_FILE, Reject
from asrscale.corpus.shard_file import hash_dependencies, refused_rows, stat_recordings
from asrscale.corpus.shard_inputs import ShardInputs, has_repaired_recording, inputs_of
from asrscale.corpus.shard_record import ShardEntry, ShardRecord, Utterance, write_record
from asrscale.corpus.shard_task import Task
from asrscale.data.catalog import DATASET_FILE, Catalog, read_catalog
from asrscale.data.index import read_shards


def repaired_shards(tasks: Iterable[Task], before: dict[str, ShardInputs]) -> frozenset[str]:
    """Returns the file names of the shards that are to be built again, as recordings of theirs are there now or others.

    All of them, where one is and another version of asrscale built the folder, or its shards have other rows.

    Args:
        tasks: The shards of the split.
        before: What was recorded of them when they were built.
    """
    now = [_inputs_now(task) for task in tasks]
    repaired = frozenset(shard.shard for shard in now if _is_repaired(before.get(shard.shard), shard))
    is_other_version = any(before.get(shard.shard, shard).version != shard.version for shard in now)
    return frozenset(shard.shard for shard in now) if repaired and is_other_version else repaired


def _inputs_now(task: Task) -> ShardInputs:
    """Returns what a shard would be made of."""
    return inputs_of(task.path, task.rows, task.refused, stat_recordings(task))


def _is_repaired(before: ShardInputs | None, now: ShardInputs) -> bool:
    """Whether a shard is to be built again; `before` is None where the folder has no such shard."""
    return before is None or has_repaired_recording(before, now)


def restore_records(out: str, folder: Path, tasks: Iterable[Task], repaired: Set[str]) -> None:
    """Writes the records of the shards that stay, from what the whole folder says of them.

    With them the folder is like that of an interrupted build, in which only the repaired shards are missing.

    Args:
        out: The --out of the build.
        folder: The data set folder.
        tasks: Its shards.
        repaired: File names of those that are to be built again.
    """
    catalog = read_catalog([str(folder)])
    dataset = json.loads((folder / DATASET_FILE).read_bytes())
    entries = {entry["file"]: ShardEntry(**entry) for entry in dataset["shards"]}
    numbers = {Path(path).name: number for number, path in enumerate(catalog.shards)}
    rejects = _rejects_by_line(out, folder.name)
    for task in tasks:
        name = Path(task.path).name
        if name in repaired or name not in entries:
            continue
        utterances = tuple(_utterances(catalog, numbers[name]))
        of_shard = tuple(rejects[row.line] for row in task.rows if row.line in rejects)
        if len(utterances) + len(of_shard) != len(task.rows):
            continue  # the list of rejects is not that of the build, so the shard is built again
        record = ShardRecord(
            utterances=utterances,
            rejects=of_shard,
            made_of=hash_dependencies(task, stat_recordings(task)),
            shard=entries[name],
            refused=refused_rows(task),
        )
        write_record(task.path, record)


def _rejects_by_line(out: str, split: str) -> dict[int, Reject]:
    """Returns the lines of rejected.jsonl for a split by the row's line."""
    path = Path(out, REJECTED_FILE)
    lines = read_jsonl(path) if path.exists() else []
    return {line["line"]: Reject(**line) for line in lines if line["split"] == split}


def _utterances(catalog: Catalog, number: int) -> Iterator[Utterance]:
    """Yields the utterances of a shard as the index of its folder has them."""
    index = read_shards(catalog, [number])
    for i in range(len(index)):
        yield Utterance(
            key=index.keys[i].as_py(),
            shard=Path(catalog.shards[number]).name,
            text=index.texts[i].as_py(),
            speaker=index.speakers[i].as_py(),
            offset=int(index.offsets[i]),
            size=int(index.sizes[i]),
            crc32=int(index.crc32[i]),
            num_samples=int(index.num_samples[i]),
        )
