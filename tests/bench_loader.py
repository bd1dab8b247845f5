"""The loader beside the bare FLAC decode of the same utterances, on the same cores. `make bench` runs this."""

import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from conftest import write_corpus

from asrscale.audio import SAMPLE_RATE_HZ, decode_flac
from asrscale.batching import cut_step, plan_epoch
from asrscale.index import Index, read_index
from asrscale.loader import load_steps
from asrscale.shard import ShardOptions, build
from asrscale.text import build_vocabulary

THREADS = len(os.sched_getaffinity(0))
REPEATS = 5


def bare_decode(index: Index) -> None:
    """Everything in memory already, in shard order, nothing checked, nothing collated."""
    payloads = []
    for i in range(len(index)):
        with open(index.shards[index.shard_ids[i]], "rb") as file:
            file.seek(int(index.offsets[i]))
            payloads.append(file.read(int(index.sizes[i])))
    started = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(decode_flac, payloads))
    seconds["bare decode"].append(time.perf_counter() - started)


def loader(index: Index) -> None:
    """A whole epoch: plan, cut, read, check, decode, collate."""
    started = time.perf_counter()
    plan = plan_epoch(index.num_samples, seed=0, epoch=0, batch_samples=40 * SAMPLE_RATE_HZ, units_per_step=4)
    cap_samples = 40 * SAMPLE_RATE_HZ
    passes = (
        cut_step(plan.step(number), index.num_samples, memory_cap_samples=cap_samples, world_size=1)[0]
        for number in range(plan.num_steps)
    )
    for _ in load_steps(index, build_vocabulary(""), passes, threads=THREADS):
        pass
    seconds["loader"].append(time.perf_counter() - started)


seconds: dict[str, list[float]] = {"bare decode": [], "loader": []}


def main() -> None:
    digits = Path(__file__).parent.parent.parent / "shared" / "data" / "digits" / "dev.csv"
    with tempfile.TemporaryDirectory() as folder:
        csv_file = digits if digits.exists() else write_corpus(Path(folder, "corpus"), utterances=400)
        build(ShardOptions(csv=(f"dev={csv_file}",), out=f"{folder}/shards"))
        index = read_index([f"{folder}/shards/dev"])
        for _ in range(REPEATS):
            bare_decode(index)
            loader(index)
    print(f"\n{len(index)} utterances, {index.hours * 3600:,.0f} s, {THREADS} threads, best of {REPEATS}")
    for name, times in seconds.items():
        speed = index.hours * 3600 / min(times)
        print(
            f"{name:12} {speed:9,.0f} x real time   {np.min(seconds['bare decode']) / min(times):5.2f} of bare decode"
        )


if __name__ == "__main__":
    main()
