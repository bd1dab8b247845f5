"""Starting and resuming with a simulated index of 10 million utterances: seconds, and bytes read of the index.

`make bench` runs this. The shards are empty files, for nothing but the index is read before the first step.
"""

import json
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from asrscale.batching import find_step, plan_window
from asrscale.index import _SCHEMA, DATASET_FILE, INDEX_FILE, SCHEMA_VERSION, read_catalog
from asrscale.model import build_recognizer
from asrscale.steps import plan_run, read_window

SHARDS, SHARD_UTTERANCES = 10_000, 1_000


def bytes_read() -> int:
    """What this process has read so far, from disk or from the page cache."""
    counters = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counters["rchar"])


def simulate(folder: Path) -> None:
    """A data set folder as the builder writes it, with 5 s clips in the mean and a sentence each."""
    rng = np.random.default_rng(0)
    shards = []
    constant = {
        "offset": np.arange(SHARD_UTTERANCES) * 80_000,
        "size": np.full(SHARD_UTTERANCES, 79_000),
        "crc32": np.zeros(SHARD_UTTERANCES, np.uint32),
        "text": ["the quick brown fox jumps over the lazy dog"] * SHARD_UTTERANCES,
        "speaker": [None] * SHARD_UTTERANCES,
    }
    with pq.ParquetWriter(folder / INDEX_FILE, _SCHEMA) as writer:
        for number in range(SHARDS):
            name = f"train-{number:06d}.tar"
            lengths = (np.clip(rng.lognormal(1.5, 0.4, SHARD_UTTERANCES), 1, 15) * 16_000).astype(np.int64)
            columns = constant | {
                "key": [f"train-{number * SHARD_UTTERANCES + i:08d}" for i in range(SHARD_UTTERANCES)],
                "shard": [name] * SHARD_UTTERANCES,
                "num_samples": lengths,
            }
            writer.write_table(pa.table([pa.array(columns[f.name], f.type) for f in _SCHEMA], _SCHEMA))
            (folder / name).touch()
            sums = {"samples": int(lengths.sum()), "longest_samples": int(lengths.max())}
            shards.append({"file": name, "bytes": 0, "utterances": SHARD_UTTERANCES, **sums})
    dataset = {"schema_version": SCHEMA_VERSION, "characters": {"a": 1}, "shards": shards}
    (folder / DATASET_FILE).write_text(json.dumps(dataset))


def main() -> None:
    recognizer = build_recognizer("tiny", "")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulate(folder)
        index_bytes = (folder / INDEX_FILE).stat().st_size
        print(
            f"{SHARDS * SHARD_UTTERANCES:,} utterances in {SHARDS:,} shards, index.parquet {index_bytes / 1e6:,.0f} MB"
        )
        print("resumed at            start-up   its window   plan of it   MB read   share of the index   windows read")
        for share in (0.0, 0.25, 0.5, 0.99):
            read_window.cache_clear()
            before, times = bytes_read(), [time.perf_counter()]
            plan = plan_run(read_catalog([str(folder)]), seed=1, batch_seconds=160, units_per_step=4)
            times.append(time.perf_counter())
            step = int(share * plan.steps_per_epoch)
            epoch, window, _ = find_step(plan.steps, step, seed=1)
            lengths = read_window(plan, window, recognizer)[0].num_samples
            times.append(time.perf_counter())
            plan_window(lengths, seed=1, epoch=epoch, window=window, steps=int(plan.steps[window]), units_per_step=4)
            times.append(time.perf_counter())
            read = bytes_read() - before
            seconds = "".join(f"{after - start:10.2f} s" for start, after in pairwise(times))
            windows = f"{read_window.cache_info().misses} of {len(plan.windows)}"
            print(f"step {step:8,} {seconds}  {read / 1e6:8,.0f}   {read / index_bytes:18.1%}   {windows:>12}")


if __name__ == "__main__":
    main()
