"""Requests to stop, from every process that may send them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.processes import (
    PATIENCE_SECONDS,
    Start,
    background_commands,
    caught_signals,
    parent_of,
    ranks_of,
    wait_for,
)
from helpers.training import HELD, STEPS, assert_same_run, hold, is_held, launch, metric, short, visited

from asrscale.common.errors import EXIT_STOPPED
from asrscale.training.memory_rescue import PassCap
from asrscale.training.stopping import PREEMPTED_FILE, TICK_SECONDS, watching

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    with background_commands() as start:
        yield start


# The target of the signal, one rank or one of the launchers above it, and the exit code of deepspeed then: 75 where the
# ranks can set it, and never 0.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "target", "code"),
    [
        (signal.SIGTERM, "rank", EXIT_STOPPED),
        (signal.SIGUSR1, "rank", EXIT_STOPPED),
        (signal.SIGINT, "rank", EXIT_STOPPED),
        (signal.SIGTERM, "launch", 1),
        (signal.SIGUSR1, "launch", -signal.SIGTERM),  # by the ranks
        (signal.SIGKILL, "launch", -signal.SIGTERM),
        (signal.SIGTERM, "runner", -signal.SIGTERM),
        (signal.SIGUSR1, "runner", -signal.SIGUSR1),
        (signal.SIGKILL, "runner", -signal.SIGKILL),
    ],
)
def test_a_stop_under_deepspeed_saves_and_the_run_goes_on_to_the_same_weights(
    number: signal.Signals, target: str, code: int, start: Start, undisturbed: Path, tone_shards: Path, tmp_path: Path,
    run_command: Run,
) -> None:  # fmt: skip
    folder = tmp_path / "run"
    words = launch(2, tone_shards, folder, *short(saves=100), script=HELD)
    process = start(words, **hold(folder, step=5))
    wait_for(lambda: len(ranks_of(folder)) == 2, process)
    rank = ranks_of(folder)[-1]
    wait_for(is_held(folder), process)
    launch_pid = parent_of(rank)
    pids = {"rank": rank, "launch": launch_pid, "runner": parent_of(launch_pid)}
    os.kill(pids[target], number)
    wait_for(lambda: not ranks_of(folder))
    assert process.wait(PATIENCE_SECONDS) == code, process.communicate()
    assert (folder / PREEMPTED_FILE).exists() and not (folder / "model").exists()
    [checkpoint] = (folder / "checkpoints").glob("step-*")  # none was due
    done = run_command(*launch(2, tone_shards, folder, *short()))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"going on from step {int(checkpoint.name[5:])};" in done.stderr
    assert not (folder / PREEMPTED_FILE).exists()
    assert_same_run(folder, undisturbed)


STOPPED_IN_EVALUATION = """
import os, runpy, sys, time
from asrscale.results import evaluation
evaluate = evaluation.evaluate
def stopped(*values, **settings):
    os.kill(os.getpid(), {number})
    while not settings["should_stop"]():
        time.sleep(0.01)
    return evaluate(*values, **settings)
evaluation.evaluate = stopped  # before the modules that train import it
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("number", [signal.SIGUSR1, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_stop_in_start_up_or_evaluation_is_quick_and_loses_nothing(
    number: signal.Signals, start: Start, undisturbed: Path, tone_shards: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    words = launch(1, tone_shards, folder, *short())

    process = start(words)
    wait_for(lambda: number in caught_signals(process.pid), process)  # the watch has taken over the signals
    process.send_signal(number)
    assert process.wait(PATIENCE_SECONDS) == EXIT_STOPPED
    assert "while starting" in process.communicate()[0]
    assert not folder.exists()  # it was not locked yet, and might have been another one's

    process = start([words[0], "-c", STOPPED_IN_EVALUATION.format(number=number.value), *words[1:]])
    output, _ = process.communicate()
    assert process.returncode == EXIT_STOPPED, output
    assert f"stopped on request after step {STEPS};" in output and not metric(folder, "valid/wer")
    assert (folder / "checkpoints" / "latest").read_text().strip() == f"step-{STEPS:08d}"
    process = start(words)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert visited(folder) == visited(undisturbed)
    assert metric(folder, "valid/wer") == pytest.approx(metric(undisturbed, "valid/wer"))


def test_a_stop_is_only_a_flag_once_training_has_begun(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with watching(tmp_path) as watch:
        assert not watch.beat("training")
        os.kill(os.getpid(), signal.SIGUSR1)
        wait_for(lambda: watch.stopping)
        assert watch.beat("evaluating")
        time.sleep(2 * TICK_SECONDS)
    assert signal.getsignal(signal.SIGUSR1) == before and not list(tmp_path.iterdir())


def test_no_error_ends_the_thread_that_hears_signals(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rescues.jsonl").mkdir()  # cannot be read
    with watching(tmp_path) as watch:
        watch.cap = PassCap(tmp_path / "rescues.jsonl", {}, 16_000, 16_000)
        watch.beat("training")
        time.sleep(4 * TICK_SECONDS)
        os.kill(os.getpid(), signal.SIGUSR1)
        wait_for(lambda: watch.stopping)
    assert capfd.readouterr().err.count("the watching thread goes on after IsADirectoryError") == 1


def test_signals_are_watched_before_torch_is_imported() -> None:
    code = "import sys, asrscale.train; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_what_is_ignored_stays_ignored(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as under nohup
    try:
        with watching(tmp_path) as watch:
            watch.beat("training")
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(2 * TICK_SECONDS)
            assert not watch.stopping
    finally:
        signal.signal(signal.SIGINT, before)
