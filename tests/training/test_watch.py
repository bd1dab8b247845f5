"""Requests to stop, from everyone who may ask."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
from conftest import OF_THIS_PROCESS, REPOSITORY
from helpers.training import STEPS, launch, metric, short, visited
from safetensors.torch import load_file

from asrscale.common.errors import EXIT_STOPPED
from asrscale.training.heartbeat import Pulse, look
from asrscale.training.launcher import find_launchers, is_running
from asrscale.training.stopping import TICK_SECONDS, watching
from asrscale.training.watch import PREEMPTED_FILE, Watch

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]
PATIENCE_SECONDS = 240.0  # on a busy machine


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    """Returns once `condition` holds; fails where it does not, or where `process` ends before."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ranks_of(run_folder: Path) -> list[int]:
    """Process ids of the ranks that train in `run_folder`; launchers and zombies are left out."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_text().split("\0")
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        launches = {Path(word).name for word in words[:5]} & {"deepspeed", "torchrun", "deepspeed.launcher.launch"}
        if str(run_folder) in words and not launches and state not in "ZX":
            found.append(int(folder.name))
    return sorted(found)


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a command in the background, as a user would; what is left of it is killed at the end."""
    started = []

    def start(words: list[str], **environment: str) -> subprocess.Popen[str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        clean = {name: value for name, value in os.environ.items() if not name.startswith(OF_THIS_PROCESS)}
        process = subprocess.Popen(
            words, cwd=REPOSITORY, env=clean | {"PATH": path} | environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
        )  # fmt: skip
        started.append((process, Path(words[words.index("--run") + 1])))
        return process

    yield start
    for process, run_folder in started:
        process.kill()
        for pid in ranks_of(run_folder):
            os.kill(pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def same_as(undisturbed: Path, run_folder: Path) -> None:
    """Fails unless a run took the steps of `undisturbed` to the very same weights."""
    assert visited(run_folder) == visited(undisturbed)
    assert metric(run_folder, "train/loss") == metric(undisturbed, "train/loss")
    assert metric(run_folder, "valid/wer") == metric(undisturbed, "valid/wer")
    weights, other = (load_file(folder / "model" / "model.safetensors") for folder in (undisturbed, run_folder))
    assert all(weights[name].equal(other[name]) for name in weights)


def environment(pid: int) -> dict[str, str]:
    words = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(word.split("=", 1) for word in words if "=" in word)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


# Whom the signal hits, one rank or one of the launchers above it, and what deepspeed says then: 75 where the ranks can
# say it, and never 0.
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
    words = launch(2, tone_shards, folder, *short(saves=100))
    process = start(words)
    wait_for(lambda: len(ranks_of(folder)) == 2, process)
    rank = ranks_of(folder)[-1]
    wait_for(lambda: (folder / "ledger").is_dir(), process)  # in its first steps, of which there are few
    os.kill({"rank": rank, "launch": parent(rank), "runner": parent(parent(rank))}[target], number)
    wait_for(lambda: not ranks_of(folder))
    assert process.wait(PATIENCE_SECONDS) == code, process.communicate()
    assert (folder / PREEMPTED_FILE).exists() and not (folder / "model").exists()
    [checkpoint] = (folder / "checkpoints").glob("step-*")  # none was due
    done = run_command(*launch(2, tone_shards, folder, *short()))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"going on from step {int(checkpoint.name[5:])};" in done.stderr
    assert not (folder / PREEMPTED_FILE).exists()
    same_as(undisturbed, folder)


STOPPED_IN_EVALUATION = """
import os, runpy, sys, time
from asrscale import fit
evaluate = fit.evaluate
def stopped(*values, **settings):
    os.kill(os.getpid(), {number})
    time.sleep(2)
    return evaluate(*values, **settings)
fit.evaluate = stopped
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("number", [signal.SIGUSR1, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_stop_in_start_up_or_evaluation_is_quick_and_loses_nothing(
    number: signal.Signals, start: Start, undisturbed: Path, tone_shards: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    words = launch(1, tone_shards, folder, *short())

    def handled() -> bool:  # the watch has taken over the signals
        pending = Path(f"/proc/{process.pid}/status").read_text()
        caught = int(pending.split("SigCgt:")[1].split()[0], 16)
        return bool(caught >> (number - 1) & 1)

    process = start(words)
    wait_for(handled, process)
    process.send_signal(number)
    assert process.wait(PATIENCE_SECONDS) == EXIT_STOPPED
    assert "while starting" in process.communicate()[0]
    assert {path.name for path in folder.iterdir()} == {PREEMPTED_FILE}

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


def test_a_launcher_is_told_from_a_shell_whose_command_mentions_one(tmp_path: Path) -> None:
    code = "import sys; from asrscale.training.launcher import find_launchers; print(len(find_launchers()))"
    for command, expected in (("bash", 0), ("torchrun", 1)):
        link = tmp_path / command
        link.symlink_to("/bin/bash")
        words = [str(link), "-c", f"{sys.executable} -c '{code}'; : torchrun deepspeed"]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        assert int(done.stdout) == expected, done.stdout
    assert find_launchers() == []


def test_a_zombie_does_not_run() -> None:
    child = subprocess.Popen(["sleep", "1000"])
    process = psutil.Process(child.pid)
    assert is_running(process)
    child.kill()
    wait_for(lambda: not is_running(process))
    child.wait()
    assert not is_running(process)


def test_a_stopped_rank_is_found_by_the_others_and_named(start: Start, tone_shards: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start(launch(2, tone_shards, folder, *short(saves=10_000, steps=100_000), "--hang_seconds", 8))
    wait_for((folder / "metrics.jsonl").is_file, process)  # a step is behind them
    victim = next(pid for pid in ranks_of(folder) if environment(pid)["RANK"] == "1")

    def is_stopped_in_a_step() -> bool:  # what its heartbeat says then is what the other will read
        os.kill(victim, signal.SIGSTOP)
        heartbeat = json.loads((folder / "heartbeat" / "rank-00001.json").read_text())
        stays = bool(heartbeat["doing"] == "training" and heartbeat["busy_seconds"] > 0)
        if not stays:
            os.kill(victim, signal.SIGCONT)
            time.sleep(0.1)
        return stays

    wait_for(is_stopped_in_a_step, process)
    output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1, output
    assert re.search(r"rank 0: no rank has come further for \d+ s", output), output
    assert re.search(rf"rank 1 \(process {victim} on .*, training at step \d+\) does not answer\n", output), output
    assert "fit.py" in output  # the stacks
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        busy = json.loads(line)["speed/rank_seconds"]
        assert len(busy) == 2 and busy[json.loads(line)["speed/slowest_rank"]] == max(busy) > 0
    wait_for(lambda: not ranks_of(folder))


@pytest.mark.slow
def test_a_read_that_never_returns_is_a_hang_with_its_stack(start: Start, own_shards: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start(launch(1, own_shards, folder, *short(saves=10_000, steps=100_000), "--hang_seconds", 5))
    wait_for(lambda: (folder / "ledger").is_dir(), process)
    for shard in (own_shards / "train").glob("*.tar"):
        os.mkfifo(tmp_path / "pipe")  # whose other end nobody opens
        os.replace(tmp_path / "pipe", shard)
    output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1, output
    assert re.search(r"rank 0: no rank has come further for 5\d s \(--hang_seconds\)", output), output
    assert re.search(r"rank 0 \(process \d+ on .*\) hangs\n", output) and "_read_local" in output, output


def test_a_start_that_hangs_is_ended_though_no_rank_is_known_yet(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    watch, pulse = Watch(tmp_path, hang_seconds=10), Pulse()
    with pytest.raises(SystemExit), pytest.MonkeyPatch.context() as patched:
        patched.setattr("os._exit", sys.exit)
        for second in range(200):
            if second == 50:
                watch.beat()  # the ranks have met
            look(watch, pulse, 1.0)
    assert second == 150, second
    message = capfd.readouterr().err
    assert re.search(rf"a rank that has not begun \(process {os.getpid()} on .*, starting at step 0\) hangs", message)
    assert not list(tmp_path.iterdir())  # the folder may be another run's


def test_a_hang_is_told_from_a_slow_rank(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ranks = [Watch(tmp_path, doing="training", step=3, rank=rank, world_size=2, hang_seconds=10) for rank in (0, 1)]
    pulses = [Pulse(), Pulse()]

    def seconds(count: int, *alive: int) -> None:
        for _ in range(count):
            for rank in alive:
                look(ranks[rank], pulses[rank], 1.0)

    seconds(3, 0, 1)
    for _ in range(5):  # rank 1 is slow, rank 0 waits for it: nobody hangs
        seconds(6, 0, 1)
        ranks[1].beat()
    for rank in ranks:
        rank.beat("saving")
    seconds(50, 0, 1)  # a save has no beats of its own
    for rank in ranks:
        rank.beat("training", 4)
    seconds(1, 0, 1)
    ranks[0].beat("training", 5)
    with pytest.raises(SystemExit), pytest.MonkeyPatch.context() as patched:
        patched.setattr("os._exit", sys.exit)
        seconds(30, 0, 1)
    message = capfd.readouterr().err
    assert "no rank has come further for 10 s (--hang_seconds)" in message and "stacks of rank" in message
    assert re.search(rf"rank 1 \(process {os.getpid()} on .*, training at step 4\) hangs", message)

    ranks[1].beat("saving", 5)
    seconds(1, 1, 0)
    with pytest.raises(SystemExit), pytest.MonkeyPatch.context() as patched:
        patched.setattr("os._exit", sys.exit)
        seconds(30, 0)  # rank 1 is gone: no save takes that long
    assert re.search(r"rank 1 \(.*, saving at step 5\) does not answer", capfd.readouterr().err)
