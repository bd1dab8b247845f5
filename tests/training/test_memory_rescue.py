"""Memory that does not suffice: tests/ranks/short_of_memory.py makes torch raise its error for that."""

import json
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from helpers.training import STEPS, ZERO_2, free_port, launch, metric, short, weight_difference, zero_file

from asrscale.common.errors import EXIT_STOPPED, EXIT_USAGE, CliError
from asrscale.training.memory_rescue import MAX_RESCUES, RESCUES_FILE, PassCap, open_pass_cap

Run = Callable[..., subprocess.CompletedProcess[str]]
SECOND = 16_000


def test_a_cap_is_halved_below_what_failed_and_down_to_the_longest_utterance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cap = open_pass_cap(tmp_path, {"a": 1}, 100.0, 15 * SECOND)
    cap.lower(60 * SECOND, step=3, rank=1)
    assert cap.seconds == 50
    assert capsys.readouterr().err == ("rank 1, step 3: memory ran out in a pass of 60 s; next 50 s\n")
    cap.lower(20 * SECOND, step=3, rank=0, report=False)
    assert cap.seconds == 15 and cap.rescues == 2 and not capsys.readouterr().err
    with pytest.raises(CliError, match=r"^memory ran out in a pass of one utterance \(.*rescues\.jsonl"):
        cap.lower(15 * SECOND, step=3, rank=0)


def test_the_next_start_with_the_same_settings_keeps_to_the_lowest_cap(tmp_path: Path) -> None:
    own, other = {"a": 1}, {"a": 2}
    first, failing, too = (open_pass_cap(tmp_path, own, 64.0, SECOND) for _ in range(3))
    for rank, cap in enumerate((failing, too)):  # two of three ranks meet it
        cap.lower(40 * SECOND, step=3, rank=rank, exit=True)
    assert first.is_outdated() and not failing.is_outdated()
    again = open_pass_cap(tmp_path, own, 64.0, SECOND)
    assert again.seconds == 32 and again.rescues == 1 and not again.is_outdated()
    changed = open_pass_cap(tmp_path, other, 64.0, SECOND)
    assert changed.seconds == 64 and not changed.rescues and not changed.is_outdated()

    changed.lower(64 * SECOND, step=4, rank=0)  # in place: no rank is to exit
    assert open_pass_cap(tmp_path, other, 64.0, SECOND).seconds == 32 and not changed.is_outdated()
    while again.rescues <= MAX_RESCUES:
        again.lower(again.samples, step=5, rank=0, exit=True)
    with pytest.raises(CliError, match=rf"^memory ran out {MAX_RESCUES + 1} times with ever shorter passes"):
        open_pass_cap(tmp_path, own, 64.0, SECOND)


def short_of_memory(ranks: int, shards: Path, folder: Path, config: object, *flags: object) -> list[str]:
    """The command of a run like the undisturbed one: passes of 2.6 s at most, utterances of 1.6 s at most."""
    command = launch(ranks, shards, folder, *short(config), *flags)
    return ["tests/ranks/short_of_memory.py" if word == "launch/train.py" else word for word in command]


def test_lines_that_are_no_whole_rescues_mean_nothing(tmp_path: Path) -> None:
    own = {"settings": {}, "leave": True, "memory_cap_seconds": 0.5}
    rows = [{}, {"settings": {}}, own | {"leave": "yes"}, own | {"memory_cap_seconds": None}, own | {"settings": 1}]
    path = tmp_path / RESCUES_FILE
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert not PassCap(path, {}, 16_000, 16_000).is_outdated()
    path.write_text(path.read_text() + json.dumps(own) + "\n")
    assert PassCap(path, {}, 16_000, 16_000).is_outdated()


@pytest.mark.parametrize("launcher", ["deepspeed", pytest.param("torchrun", marks=pytest.mark.slow)])
def test_ranks_that_wait_for_each_other_start_again_with_shorter_passes(
    launcher: str, undisturbed: Path, tone_shards: Path, tmp_path: Path, run_command: Run
) -> None:
    folder = tmp_path / "run"
    command = short_of_memory(2, tone_shards, folder, ZERO_2, "--restarts", 1)
    if launcher == "torchrun":
        start = ["torchrun", "--nproc-per-node", "2", "--master-port", str(free_port()), "--"]
        command = start + command[command.index("tests/ranks/short_of_memory.py") :]
    done = run_command(*command, OOM="backward 200 1 7 1.7")
    assert done.returncode == 0, done.stderr
    assert "rank 1, step 7: memory ran out in a pass of" in done.stderr and "going on from step 4" in done.stderr
    [row] = map(json.loads, (folder / "rescues.jsonl").read_text().splitlines())
    assert (row["step"], row["rank"], row["leave"]) == (7, 1, True) and row["memory_cap_seconds"] <= 1.7
    assert metric(folder, "run/rescues")[STEPS] == 1
    assert metric(folder, "memory/cap_seconds")[STEPS] == row["memory_cap_seconds"]
    assert weight_difference(folder, undisturbed) < 1e-5


@pytest.fixture(scope="module")
def undisturbed_at(
    tone_shards: Path, tmp_path_factory: pytest.TempPathFactory, run_command: Run
) -> Callable[..., Path]:
    """Runs in which nothing fails, on so many ranks at a stage; with a cap, from a step on, in passes as short as that.

    How a step is cut is a matter of rounding, and where a gradient is next to nothing Adam makes 1e-5 of it: only runs
    with the same passes have the same weights.
    """

    @cache
    def run(ranks: int, stage: int, first: int = 0, cap_seconds: float = 9.0, *, again: bool = False) -> Path:
        folder = tmp_path_factory.mktemp("undisturbed") / "run"
        config = zero_file(stage, folder.parent)
        if again:  # begins before that step, as one that is started there does
            shutil.copytree(run(ranks, stage), folder)
            for newer in range(first + 3, STEPS + 1, 4):
                shutil.rmtree(folder / f"checkpoints/step-{newer:08d}")
        command = short_of_memory(ranks, tone_shards, folder, config, "--save_total_limit", 9)
        if again:
            command[command.index("--memory_cap_seconds") + 1] = str(cap_seconds)
        done = run_command(*command, OOM=f"cap 0 0 {first} {cap_seconds}")
        assert done.returncode == 0, done.stderr
        return folder

    return run


PLACES = ["forward 50", "backward 20", "backward 150"]


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("ranks", "stage"), [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1)])
def test_a_step_is_taken_again_in_place(
    ranks: int, stage: int, place: str, undisturbed_at: Callable[..., Path], tone_shards: Path, tmp_path: Path,
    run_command: Run,
) -> None:  # fmt: skip
    folder = tmp_path / "run"
    command = short_of_memory(ranks, tone_shards, folder, zero_file(stage, tmp_path))
    done = run_command(*command, OOM=f"{place} {ranks - 1} 7 1.7")
    assert done.returncode == 0, done.stderr
    assert metric(folder, "run/rescues")[STEPS] == 1 and metric(folder, "run/restarts")[STEPS] == 0
    assert weight_difference(folder, undisturbed_at(ranks, stage), 8) < 1e-5
    cap_seconds = metric(folder, "memory/cap_seconds")[STEPS]
    assert weight_difference(folder, undisturbed_at(ranks, stage, 7, cap_seconds)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("ranks", "stage"), [(2, 2), (2, 3), (1, 3)])
def test_ranks_that_wait_for_each_other_exit_to_be_started_again(
    ranks: int, stage: int, place: str, undisturbed_at: Callable[..., Path], tone_shards: Path, tmp_path: Path,
    run_command: Run,
) -> None:  # fmt: skip
    folder, config = tmp_path / "run", zero_file(stage, tmp_path)
    command = short_of_memory(ranks, tone_shards, folder, config)
    fault = {"OOM": f"{place} 0 7 1.7"}
    stopped = run_command(*command, **fault)
    assert stopped.returncode == EXIT_STOPPED if ranks == 1 else stopped.returncode != 0, stopped.stderr
    # Of all ranks, unless the launcher, which ends the others with the first, was quicker.
    assert "memory ran out on a rank; the same command goes on" in stopped.stderr
    assert "Traceback" not in stopped.stderr and (folder / "PREEMPTED").exists()
    done = run_command(*command, **fault)
    assert done.returncode == 0 and "going on from step 4" in done.stderr, done.stderr
    assert metric(folder, "run/rescues")[STEPS] == 1
    assert weight_difference(folder, undisturbed_at(ranks, stage), 8) < 1e-5
    cap_seconds = metric(folder, "memory/cap_seconds")[STEPS]
    assert weight_difference(folder, undisturbed_at(ranks, stage, 5, cap_seconds, again=True)) == 0


def test_what_cannot_fit_fails_before_the_first_step_with_what_may(
    tone_shards: Path, tmp_path: Path, run_command: Run
) -> None:
    command = short_of_memory(1, tone_shards, tmp_path / "run", ZERO_2, "--memory_gib", 4)
    for _ in range(2):  # the second start need not try
        done = run_command(*command, OOM="forward 50 0 0 1.0")
        assert done.returncode == EXIT_USAGE and "Traceback" not in done.stderr
        message = done.stderr.splitlines()[-1]
        assert message.startswith("error: memory ran out in a pass of one utterance")
        assert "rescues.jsonl): an utter" in message and "does not fit into 0." in message
        assert ": try --config ds_configs/zero2_offload.json" in message
    assert not list((tmp_path / "run" / "checkpoints").glob("step-*"))
    done = run_command(*command[:-1], 5, OOM="step 20 0 0 0")
    message = done.stderr.splitlines()[-1]
    start = "error: rank 0, starting: CUDA out of memory. Tried to allocate 2.00 MiB: an utterance of 1.6 s does not"
    assert done.returncode == EXIT_USAGE and message.startswith(start)
    assert ": try --config ds_configs/zero2_offload.json" in message


@pytest.mark.parametrize(
    ("where", "doing"),
    [
        ("evaluate 50 1 4 0", "rank 1, evaluating"),
        pytest.param("save 20 0 4 0", "rank 0, saving", marks=pytest.mark.slow),
        pytest.param("step 20 1 0 0", "rank 1, starting", marks=pytest.mark.slow),
        pytest.param("step 20 1 3 0", "rank 1, training", marks=pytest.mark.slow),
    ],
)
def test_a_rank_that_runs_out_of_memory_elsewhere_reports_it_in_one_line_and_ends_the_run(
    where: str, doing: str, tone_shards: Path, tmp_path: Path, run_command: Run
) -> None:
    command = short_of_memory(2, tone_shards, tmp_path / "run", ZERO_2)
    command[command.index("--eval_steps") + 1] = "4"
    done = run_command(*command, "--memory_gib", 4, OOM=where)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    # The launcher's own code is that of the rank which it finds gone first: of both, the other fails in a collective.
    assert done.returncode != 0 and len(errors) == 1 and "OutOfMemoryError" not in done.stderr, done.stderr
    start = f"error: {doing}: CUDA out of memory. Tried to allocate 2.00 MiB: an utterance of 1.6 s does not fit into "
    assert errors[0].startswith(start) and " GiB: try --config ds_configs/zero" in errors[0]
