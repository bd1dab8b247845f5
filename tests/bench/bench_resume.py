"""Starting and resuming at 1, 10 and 100 million utterances: seconds, windows planned, bytes read, memory.

`make bench` runs this. The index is a real one, of 10,000 utterances a shard, and read by the real code in a process of
its own for each row; all shards are one file. Resuming at any step of epoch 7 must cost the same.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_plan import peak_mib
from helpers.simulated import bytes_read, simulate

from asrscale.data.catalog import INDEX_FILE, read_catalog
from asrscale.data.content import hash_content
from asrscale.data.run_plan import plan_run, plan_visit, read_window
from asrscale.data.step_reader import steps_from
from asrscale.model.building import build_recognizer
from asrscale.speech.pcm import SAMPLE_RATE_HZ

SHARD_UTTERANCES, EPOCH = 10_000, 7


def resume(folder: str, share: float) -> None:
    """What a run does that goes on at a share of an epoch, until it has a step to compute; prints JSON."""
    recognizer = build_recognizer("tiny", "")
    before, base_mib, started = bytes_read(), peak_mib(), time.perf_counter()
    plan = plan_run(
        read_catalog([folder]), recognizer.vocabulary, recognizer.geometry, seed=1, batch_seconds=160, units_per_step=4
    )
    start_seconds = time.perf_counter() - started
    number = EPOCH * plan.steps_per_epoch + int(share * plan.steps_per_epoch)
    plan_visit(plan, number)
    planned_seconds, planned_bytes = time.perf_counter() - started, bytes_read() - before
    cap = 160 * SAMPLE_RATE_HZ
    next(steps_from(plan, range(number, number + 1), rank=0, world_size=1, cap_samples=cap, threads=2))
    results = dict(
        number=number,
        start_seconds=start_seconds,
        planned_seconds=planned_seconds,
        loaded_seconds=time.perf_counter() - started,
        planned_bytes=planned_bytes,
        windows=len(plan.windows),
        windows_planned=read_window.cache_info().misses,
        base_mib=base_mib,
        peak_mib=peak_mib(),
    )
    print(json.dumps(results))


def compare_data(folder: str) -> None:
    """What a run does to see that its data are the same as before; prints JSON."""
    base_mib, started = peak_mib(), time.perf_counter()
    hash_content(read_catalog([folder]))
    print(json.dumps(dict(seconds=time.perf_counter() - started, base_mib=base_mib, peak_mib=peak_mib())))


def in_a_new_process(*arguments: str) -> dict[str, float]:
    """The JSON that this file prints with these arguments."""
    command = [sys.executable, __file__, *arguments]
    row: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return row


def main() -> None:
    columns = f"{'utterances':>12} {'index':>8} {'resumed at step':>16} {'catalog':>8}"
    print(f"{columns} {'step planned':>13} {'step loaded':>12}")
    for utterances in (1_000_000, 10_000_000, 100_000_000):
        with tempfile.TemporaryDirectory() as name:
            simulate(Path(name), shards=utterances // SHARD_UTTERANCES, shard_utterances=SHARD_UTTERANCES)
            index_bytes = Path(name, INDEX_FILE).stat().st_size
            costs = []
            for share in (0.0, 0.5, 0.99):
                row = in_a_new_process(name, str(share))
                assert row["windows_planned"] == 1, row
                costs.append(row["planned_bytes"])
                print(
                    f"{utterances:12,} {index_bytes / 1e6:5,.0f} MB {row['number']:16,} {row['start_seconds']:6.2f} s "
                    f"{row['planned_seconds']:11.2f} s {row['loaded_seconds']:10.2f} s   "
                    f"{row['windows_planned']} of {row['windows']:,} windows planned, {costs[-1] / 1e6:6.1f} MB read "
                    f"({costs[-1] / index_bytes:.1%} of the index), peak memory {row['peak_mib']:,.0f} MiB, of which "
                    f"{row['base_mib']:,.0f} before",
                    flush=True,
                )
            assert max(costs) < 1.2 * min(costs), costs
            row = in_a_new_process(name)
            print(
                f"{utterances:12,} {index_bytes / 1e6:5,.0f} MB, content hashed: "
                f"{row['seconds']:.2f} s, peak memory {row['peak_mib']:,.0f} MiB, {row['base_mib']:,.0f} before",
                flush=True,
            )


if __name__ == "__main__":
    if len(sys.argv) == 3:
        resume(sys.argv[1], float(sys.argv[2]))
    elif len(sys.argv) == 2:
        compare_data(sys.argv[1])
    else:
        main()
