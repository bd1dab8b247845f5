"""Runs that are killed, or whose disk is full, and go on: real launches on gloo ranks."""

import json
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Disk
from helpers.processes import background_commands, ranks_of, wait_for
from helpers.training import (
    HELD,
    STEPS,
    ZERO_2,
    assert_same_run,
    hold,
    is_held,
    launch,
    metric,
    release,
    short,
    visited,
    zero_file,
)
from safetensors.torch import load_file

Run = Callable[..., subprocess.CompletedProcess[str]]


def slow(*values: object) -> object:
    """A case that repeats what others show on other numbers of ranks."""
    return pytest.param(*values, marks=pytest.mark.slow)


def kill_in_a_step(step: int, folder: Path, words: list[str]) -> None:
    """Starts a training command that waits in a step, and kills all of its processes there."""
    with background_commands() as start:  # kills what is left of them at its end
        attempt = folder.with_name(f"until-{step}")
        process = start(words, **hold(attempt, step))
        wait_for(is_held(attempt), process)
    wait_for(lambda: not ranks_of(folder))
    assert not (folder / "model").exists()


@pytest.fixture(scope="module")
def killed(tone_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run like `undisturbed` whose processes were all killed after a checkpoint."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    kill_in_a_step(6, folder, launch(2, tone_shards, folder, *short(), script=HELD))
    return folder


@pytest.mark.parametrize(("ranks", "stage"), [(2, 2), (4, 3), slow(1, 0)])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    ranks: int, stage: int, killed: Path, undisturbed: Path, tone_shards: Path, tmp_path: Path, run_command: Run
) -> None:
    run_folder = tmp_path / "run"
    subprocess.run(["cp", "-r", killed, run_folder], check=True)
    config = zero_file(stage, tmp_path)
    done = run_command(*launch(ranks, tone_shards, run_folder, *short(config)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "going on from step" in done.stderr
    assert visited(run_folder) == visited(undisturbed)
    checkpoints = run_folder / "checkpoints"
    state = json.loads((checkpoints / (checkpoints / "latest").read_text().strip() / "state.json").read_text())
    assert state["visited"] == sum(map(len, visited(undisturbed).values()))
    weights, other = (load_file(path / "model" / "model.safetensors") for path in (undisturbed, run_folder))
    expected, losses = metric(undisturbed, "train/loss"), metric(run_folder, "train/loss")
    if (ranks, stage) == (2, 2):
        assert losses == expected
        assert all(weights[name].equal(other[name]) for name in weights)
    else:
        assert losses == pytest.approx(expected, rel=1e-4)
        assert max(float((weights[name] - other[name]).abs().max()) for name in weights) < 1e-4


def test_a_full_disk_costs_no_more_than_the_checkpoints(tone_shards: Path, tmp_path: Path, run_command: Run) -> None:
    folder = tmp_path / "run"
    words = launch(1, tone_shards, folder, *short())
    done = run_command("bash", "-c", f"ulimit -f 500; exec {shlex.join(words)}")  # KiB a file: less than the weights
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("cannot be saved") == 3 and "Traceback" not in done.stderr
    assert (
        "step 8 cannot be saved (" in done.stderr
        and "the checkpoint of step 0 stands, and the run goes on" in done.stderr
    )
    assert re.search(r"error: step 12 cannot be saved .* stands: make room in", done.stderr)
    assert metric(folder, "run/failed_saves") == {4: 1, 8: 2} and len(metric(folder, "train/loss")) == STEPS


@pytest.mark.slow
def test_a_run_whose_disk_fills_up_ends_in_words_and_goes_on_once_there_is_room(
    disk: Disk, undisturbed: Path, tone_shards: Path, tmp_path: Path, run_command: Run
) -> None:
    folder = disk.folder / "run"
    words = launch(1, tone_shards, folder, *short(saves=2))
    with background_commands() as start:
        process = start(launch(1, tone_shards, folder, *short(saves=2), script=HELD), **hold(folder, 4))
        wait_for(is_held(folder), process)
        disk.damage("full")
        release(folder)
        said, _ = process.communicate()
    assert (
        process.returncode == 2
        and "cannot be saved (" in said
        and "the run goes on" in said
        and "Traceback" not in said
    ), said
    assert re.search(r"error: step 12 cannot be saved .* stands: make room in", said), said
    disk.repair("full")
    done = run_command(*words)
    assert done.returncode == 0 and "going on from step" in done.stderr, done.stdout + done.stderr
    assert visited(folder) == visited(undisturbed)
    assert metric(folder, "train/loss") == pytest.approx(metric(undisturbed, "train/loss"), rel=1e-4)


@pytest.mark.slow
def test_a_run_goes_on_from_2_to_1_to_4_to_3_ranks_and_zero_1_to_3_to_0_to_2(
    tone_shards: Path, tmp_path: Path, run_command: Run
) -> None:
    steps = {(2, 1): 10, (1, 3): 20, (4, 0): 30, (3, 2): 40}
    flags = ["--max_steps", 40, "--warmup_steps", 5, "--batch_seconds", 3, "--units_per_step", 4, "--log_steps", 1]
    flags += ["--save_steps", 5, "--eval_steps", 10, "--ledger", "true", "--ema", 0.9, "--average", 3]
    flags += ["--freeze_steps", 12]
    expected, found = tmp_path / "expected", tmp_path / "found"
    done = run_command(*launch(2, tone_shards, expected, *flags, "--config", ZERO_2))
    assert done.returncode == 0, done.stdout + done.stderr
    for (ranks, stage), until in steps.items():
        config = zero_file(stage, tmp_path)
        with background_commands() as start:
            words = launch(ranks, tone_shards, found, *flags, "--config", config, script=HELD)
            attempt = tmp_path / f"until-{until}"
            process = start(words, **hold(attempt, until + 1))
            if until < 40:
                wait_for(is_held(attempt), process)
                os.killpg(process.pid, signal.SIGKILL)  # the launcher: its ranks notice, save and leave
            process.communicate()
            wait_for(lambda: not ranks_of(found))
    assert visited(found) == visited(expected)
    assert metric(found, "train/loss") == pytest.approx(metric(expected, "train/loss"), rel=1e-4)
    assert metric(found, "run/restarts")[40] == 3
    for name in ("model", "optimizer"):  # beside the moments lies the moving average
        path = f"checkpoints/step-00000040/{name}.safetensors"
        ours, others = (load_file(folder / path) for folder in (found, expected))
        compared = [name for name in others if not name.startswith("exp_avg_sq/")]
        assert max(float((ours[name] - others[name]).abs().max()) for name in compared) < 1e-4
    sources, expected_sources = (
        json.loads((folder / "model" / "provenance.json").read_text())["compared"] for folder in (found, expected)
    )
    assert list(sources["average"]) == list(expected_sources["average"]) == ["30", "35", "40"]


@pytest.mark.slow
def test_a_killed_run_with_changed_sound_goes_on_to_the_same_weights(
    tone_shards: Path, tmp_path: Path, run_command: Run
) -> None:
    """Each attempt resamples other utterances before, in several threads."""
    augment = f"noise={tone_shards}/valid,rir={tone_shards}/valid@0.2,gain,clip,telephone,codec"
    flags = [
        *short(saves=1, augment=augment),
        "--perturb_speed",
        "true",
        "--decode_threads",
        3,
        "--ema",
        0.9,
        "--average",
        4,
    ]
    expected, found = tmp_path / "expected", tmp_path / "found"
    done = run_command(*launch(2, tone_shards, expected, *flags))
    assert done.returncode == 0, done.stdout + done.stderr
    for step in (5, 9):
        kill_in_a_step(step, found, launch(2, tone_shards, found, *flags, script=HELD))
    done = run_command(*launch(2, tone_shards, found, *flags))
    assert done.returncode == 0, done.stdout + done.stderr
    assert metric(found, "run/restarts")[STEPS] == 2
    assert_same_run(found, expected)
    for name in ("model/provenance.json", f"checkpoints/step-{STEPS:08d}/optimizer.safetensors"):
        assert (found / name).read_bytes() == (expected / name).read_bytes()
