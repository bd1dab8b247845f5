"""The training loop in a world of one; tests/test_train.py starts real ranks."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import flip_bit
from helpers.contexts import fit_quietly, make_context, train_index
from helpers.training import metric

from asrscale.common.distributed import World
from asrscale.training.checkpoint import RunState, load_weights, read_state


def test_a_run_stopped_in_its_last_evaluation_takes_no_step_beyond_it(
    tone_shards: Path, tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = replace(make_context(tone_shards, warmup_steps=0, eval_steps=2, patience=1), world=world, folder=tmp_path)
    stopped = RunState(step=2, best=(0.0, 0.0, 0.0), best_step=1)
    ended = fit_quietly(own, stopped)
    assert ended == replace(stopped, evaluated_step=2, stale_evaluations=1)
    assert read_state(tmp_path / "checkpoints" / "step-00000002") == ended


def test_the_line_after_a_resume_counts_the_steps_before_it_too(own_shards: Path, tmp_path: Path, world: World) -> None:
    """Whichever step between two lines the run goes on from."""
    settings = dict(max_steps=8, warmup_steps=0, eval_steps=100, save_steps=1, save_total_limit=9, log_steps=4)
    settings |= dict(max_bad_fraction=0.5)
    for number in range(0, 80, 3):
        flip_bit(train_index(make_context(own_shards)), number)
    undisturbed = replace(make_context(own_shards, **settings), world=world, folder=tmp_path / "undisturbed")
    fit_quietly(undisturbed, RunState())
    expected = {name: metric(undisturbed.folder, f"train/{name}") for name in ("loss", "damaged", "skipped", "padding")}
    assert expected["loss"].keys() == {4, 8} and min(expected["damaged"].values()) > 0

    for step in (4, 5, 7):
        own = replace(make_context(own_shards, **settings), world=world, folder=tmp_path / f"resumed-{step}")
        shutil.copytree(undisturbed.folder, own.folder)
        checkpoint = own.folder / "checkpoints" / f"step-{step:08d}"
        load_weights(own.recognizer, checkpoint)
        fit_quietly(own, read_state(checkpoint), checkpoint)
        found = {name: metric(own.folder, f"train/{name}") for name in expected}
        assert found.pop("loss") == pytest.approx(expected["loss"], rel=1e-6), step
        assert found == {name: values for name, values in expected.items() if name != "loss"}, step
