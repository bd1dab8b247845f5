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
        read_catalog([folder]), recognizer.vocabulary, recognizer.stem, seed=1, batch_seconds=160, units_per_step=4
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


def main() -> None:
    columns = f"{'utterances':>12} {'index':>8} {'resumed at step':>16} {'catalog':>8}"
    print(f"{columns} {'step planned':>13} {'step loaded':>12}")
    for utterances in (1_000_000, 10_000_000, 100_000_000):
        with tempfile.TemporaryDirectory() as name:
            simulate(Path(name), shards=utterances // SHARD_UTTERANCES, shard_utterances=SHARD_UTTERANCES)
            index_bytes = Path(name, INDEX_FILE).stat().st_size
            costs = []
            for share in (0.0, 0.5, 0.99):
                command = [sys.executable, __file__, name, str(share)]
                row = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
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


if __name__ == "__main__":
    if sys.argv[1:]:
        resume(sys.argv[1], float(sys.argv[2]))
    else:
        main()
