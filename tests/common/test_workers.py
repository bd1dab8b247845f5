"""Worker processes that die, and parents that do."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.sharding import (
    checksums,
    long_corpus,
    shard,
    sizes,
    start_build,
    start_long_build,
    workers_of,
)

from asrscale.common.errors import EXIT_INTERRUPTED
from asrscale.common.progress import progress
from asrscale.common.workers import run_tasks


def double(task: list[int], begin: Callable[[int], None]) -> list[int]:
    """Doubles numbers; over None it raises, and a negative number is a signal that ends the process."""
    doubled = []
    for number, item in enumerate(task):
        begin(number)
        if item < 0:
            os.kill(os.getpid(), -item)
        doubled.append(2 * item)
    return doubled


def never_dies(task: list[int], item: int, exit_code: int) -> list[int]:
    raise AssertionError(f"a worker died over item {item} of {task}, exit code {exit_code}")


@pytest.mark.parametrize("workers", [1, 3])
def test_every_task_is_done_and_counted_by_its_items(workers: int, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = [[1, 2], [3], [], [4, 5, 6], [7]]
    with progress(total=7, title="doubling", unit="numbers") as bar:
        results = list(run_tasks(double, tasks, workers, never_dies, bar))
    assert sorted(results) == [[], [2, 4], [6], [8, 10, 12], [14]]
    assert "doubling: 7/7 numbers" in capsys.readouterr().err


def test_what_the_work_raises_has_the_traceback_of_the_worker() -> None:
    with (
        progress(total=2, title="doubling", unit="numbers", enabled=False) as bar,
        pytest.raises(TypeError) as caught,
    ):
        list(run_tasks(double, [[1, None]], 1, never_dies, bar))  # type: ignore[list-item]
    assert any("in double" in note for note in caught.value.__notes__)


def test_a_death_is_reported_with_the_item_in_hand_and_the_task_that_is_returned_is_done() -> None:
    deaths = []

    def without_the_item(task: list[int], item: int, exit_code: int) -> list[int]:
        deaths.append((task, item, exit_code))
        return task[:item] + task[item + 1 :]

    tasks = [[1, 2, -signal.SIGKILL, 3], [4]]
    with progress(total=5, title="doubling", unit="numbers", enabled=False) as bar:
        results = list(run_tasks(double, tasks, 2, without_the_item, bar))
    assert sorted(results) == [[2, 4, 6], [8]]
    assert deaths == [([1, 2, -signal.SIGKILL, 3], 2, -signal.SIGKILL)]


class Unreadable(list[int]):
    """A task over which a worker ends before it has it in hand."""

    def __reduce__(self) -> tuple[Callable[[int], object], tuple[int]]:
        return os._exit, (3,)


def test_workers_that_cannot_begin_are_not_started_for_ever() -> None:
    with (
        progress(total=1, title="doubling", unit="numbers", enabled=False) as bar,
        pytest.raises(RuntimeError, match="a worker ended at once, exit code 3"),
    ):
        list(run_tasks(double, [Unreadable([1])], 1, never_dies, bar))


def test_ctrl_c_ends_every_process_in_one_line(tmp_path: Path) -> None:
    process, folder = start_long_build(tmp_path)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == EXIT_INTERRUPTED
    assert [line for line in stderr.splitlines() if "sharding" not in line] == [
        f"interrupted: run the same command again to finish {tmp_path / 'out'}"
    ]
    assert not (folder / "dataset.json").exists()


def test_no_worker_outlives_a_killed_parent(tmp_path: Path) -> None:
    process, folder = start_long_build(tmp_path)
    process.kill()
    process.communicate(timeout=120)  # ends when the last worker has closed its end of the pipe
    before = sizes(folder)
    time.sleep(1)
    assert sizes(folder) == before


def test_a_worker_that_somebody_kills_changes_nothing(tmp_path: Path) -> None:
    flags = ("--csv", long_corpus(tmp_path, 60), "--valid_fraction", 0, "--workers", 2, "--shard_utterances", 10)
    shard(*flags, "--out", tmp_path / "undisturbed")
    folder = tmp_path / "out/train"
    process = start_build(*flags, "--out", tmp_path / "out", until=lambda: bool(list(folder.glob("*.tmp"))))
    os.kill(workers_of(process)[0], signal.SIGKILL)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert checksums(tmp_path / "out") == checksums(tmp_path / "undisturbed")
