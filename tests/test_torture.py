"""A short version of `make torture`: one run, hit three times."""

from pathlib import Path

from helpers.training import STEPS, short
from torture import Bench, break_runs, faults, table

NAMES = ("kill -9 one rank, in a save", "kill -9 all, in a step", "SIGTERM to deepspeed")


def test_a_run_that_is_hit_again_and_again_ends_with_the_same_weights(
    undisturbed: Path, tone_shards: Path, tmp_path: Path
) -> None:
    wanted = [fault for fault in faults() if fault.name in NAMES]
    assert len(wanted) == len(NAMES)
    bench = Bench(tone_shards, tmp_path, tuple(map(str, short(saves=2))), STEPS, {2: undisturbed})
    tallies = break_runs(bench, wanted, seed=0, jobs=1)
    logs = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert {name: (tally.tries, tally.survived) for name, tally in tallies.items()} == dict.fromkeys(NAMES, (1, 1)), (
        f"{table(tallies)}\n{logs}"
    )
