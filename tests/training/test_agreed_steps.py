"""Steps that all ranks agree to take."""

import math
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.contexts import make_context
from helpers.training import free_port

from asrscale.common.distributed import World
from asrscale.common.errors import OutOfTime
from asrscale.data.step_reader import Step, steps_from
from asrscale.training.agreed_steps import AgreedSteps
from asrscale.training.watch import Watch


@pytest.fixture
def read(tone_shards: Path, world: World) -> Iterator[Iterator[Step]]:
    """Four steps of a run."""
    context = make_context(tone_shards)
    steps = steps_from(context.plan, range(4), rank=0, world_size=1, cap_samples=context.cap.samples, threads=1)
    yield steps
    steps.close()  # type: ignore[attr-defined]  # ends its threads


def test_steps_come_in_their_order_however_often_one_looks_ahead(
    read: Iterator[Step], world: World, tmp_path: Path
) -> None:
    watch = Watch(tmp_path)
    steps = AgreedSteps(read, watch, world)
    numbers: list[int] = []
    while (agreed := steps.take()) is not None:
        numbers.append(agreed.step.number)
        assert (agreed.good, agreed.damaged) == (agreed.step.utterances, 0)
        assert (watch.doing, watch.step) == ("training", agreed.step.number + 1)
        for _ in range(len(numbers) - 1):  # not at all after the first, then once, twice, three times
            steps.look_ahead()
    assert numbers == [0, 1, 2, 3]
    assert steps.take() is None


def test_what_is_waited_for_the_next_step_counts_where_it_is_waited(
    read: Iterator[Step], world: World, tmp_path: Path
) -> None:
    """The share of a step's time that was spent waiting would be above 1 otherwise."""
    steps = AgreedSteps(read, Watch(tmp_path), world)
    steps.take()
    assert steps.pop_waiting_seconds() > 0
    assert steps.pop_waiting_seconds() == 0
    steps.look_ahead()
    assert steps.pop_waiting_seconds() > 0
    steps.take()
    assert steps.pop_waiting_seconds() == 0


def test_while_its_data_are_read_a_rank_is_loading(read: Iterator[Step], world: World, tmp_path: Path) -> None:
    """Its heartbeat says so: slow data are no hang. Ranks that wait for it are a step further: it alone is named."""
    watch = Watch(tmp_path)
    seen: list[tuple[str, int]] = []

    def noted() -> Iterator[Step]:
        for step in read:
            seen.append((watch.doing, watch.step))
            yield step

    steps = AgreedSteps(noted(), watch, world)
    while (agreed := steps.take()) is not None:
        steps.look_ahead()
        is_last = agreed.step.number == 3
        assert (watch.doing, watch.step) == ("training", agreed.step.number + (1 if is_last else 2))
    assert seen == [("loading", 0), ("loading", 1), ("loading", 2), ("loading", 3)]


def test_past_the_deadline_no_step_begins_but_the_first(read: Iterator[Step], world: World, tmp_path: Path) -> None:
    steps = AgreedSteps(read, Watch(tmp_path, deadline=-math.inf), world)
    first = steps.take()
    assert first is not None and first.step.number == 0
    with pytest.raises(OutOfTime):
        steps.take()


def test_where_one_rank_asks_for_a_stop_all_stop_before_the_same_step(
    tone_shards: Path, run_command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """The next one, or where the ranks have agreed on that already, the one after it."""
    done = run_command(
        "torchrun", "--nproc-per-node", 2, "--master-port", free_port(), "tests/ranks/agreeing_ranks.py", tone_shards
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line]
    assert len(lines) == 12  # two ranks, three cases, and either of them asking
    assert lines.count("before it looks ahead: [0, 1, 2]") == 4
    assert lines.count("after it has looked ahead: [0, 1, 2, 3]") == 4
    assert lines.count("where none looks ahead: [0, 1, 2]") == 4
