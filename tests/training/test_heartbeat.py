"""Hangs: found, reported with the rank that hangs, and distinguished from ranks that are slow."""

import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.processes import PATIENCE_SECONDS, Start, background_commands, environment_of, ranks_of, wait_for
from helpers.training import launch, short

from asrscale.training.heartbeat import Pulse, look
from asrscale.training.watch import Watch


@pytest.fixture
def start() -> Iterator[Start]:
    with background_commands() as start:
        yield start


def test_a_stopped_rank_is_found_by_the_others_and_named(start: Start, tone_shards: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start(launch(2, tone_shards, folder, *short(saves=10_000, steps=100_000), "--hang_seconds", 8))
    wait_for((folder / "metrics.jsonl").is_file, process)  # a step is behind them
    path = folder / "heartbeat" / "rank-00001.json"
    wait_for(path.is_file, process)  # which may come later than quick steps
    victim = next(pid for pid in ranks_of(folder) if environment_of(pid)["RANK"] == "1")

    def is_stopped_in_a_step() -> bool:  # the heartbeat that it has then is what the other rank will read
        os.kill(victim, signal.SIGSTOP)
        heartbeat = json.loads(path.read_text())
        stays = bool(heartbeat["doing"] == "training" and heartbeat["busy_seconds"] > 0)
        if not stays:
            os.kill(victim, signal.SIGCONT)
            time.sleep(0.1)
        return stays

    wait_for(is_stopped_in_a_step, process)
    wait_for(lambda: [*ranks_of(folder)] == [victim], process)
    os.kill(victim, signal.SIGCONT)  # the launcher would give it a minute to end before it kills it
    output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1, output
    assert re.search(r"rank 0: no rank has made progress for \d+ s", output), output
    assert re.search(rf"rank 1 \(process {victim} on .*, training at step \d+\) does not answer\n", output), output
    assert "training/loop.py" in output  # the stacks
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
        os.mkfifo(tmp_path / "pipe")  # whose other end no process opens
        os.replace(tmp_path / "pipe", shard)
    output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1, output
    assert re.search(r"rank 0: no rank has made progress for 5\d s \(--hang_seconds\)", output), output
    assert re.search(r"rank 0 \(process \d+ on .*\) hangs\n", output) and "read_local" in output, output


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


def test_a_slow_rank_is_no_hang(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
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
    assert "no rank has made progress for 10 s (--hang_seconds)" in message and "stacks of rank" in message
    assert re.search(rf"rank 1 \(process {os.getpid()} on .*, training at step 4\) hangs", message)

    ranks[1].beat("saving", 5)
    seconds(1, 1, 0)
    with pytest.raises(SystemExit), pytest.MonkeyPatch.context() as patched:
        patched.setattr("os._exit", sys.exit)
        seconds(30, 0)  # rank 1 is gone: no save takes that long
    assert re.search(r"rank 1 \(.*, saving at step 5\) does not answer", capfd.readouterr().err)


WHOLE = {
    "name": "rank 1", "host": "node", "process": 7, "looks": 1, "step": 3, "doing": "training", "beats": 1,
    "busy_seconds": 0.5,
}  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[]",
        "null",
        "[" * 100_000,
        json.dumps(WHOLE)[:-9],
        json.dumps(WHOLE | {"step": "3"}),
        json.dumps(WHOLE | {"beats": None}),
        json.dumps(WHOLE | {"host": "\x1b[2Jnode"}),
        json.dumps(WHOLE | {"doing": "dreaming"}),
        json.dumps(WHOLE | {"note": "x" * 5_000}),
        b"\xff\xfe",
        None,
    ],
)
def test_what_is_no_whole_heartbeat_is_a_rank_that_has_not_begun(
    content: str | bytes | None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    watch, pulse = Watch(tmp_path, doing="training", step=3, rank=0, world_size=2, hang_seconds=10), Pulse()
    forged = tmp_path / "heartbeat" / "rank-00001.json"
    forged.parent.mkdir()
    if content is None:
        os.mkfifo(forged)  # whose reader would wait for ever
    else:
        forged.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SystemExit), pytest.MonkeyPatch.context() as patched:
        patched.setattr("os._exit", sys.exit)
        for _ in range(15):
            look(watch, pulse, 1.0)
    message = capfd.readouterr().err
    assert "rank 0: no rank has made progress for 10 s" in message and "rank 1" not in message
