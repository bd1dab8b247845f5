"""The training loop in a world of one; tests/test_train.py starts real ranks."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from conftest import flip_bit
from helpers.contexts import fit_quietly, make_context, train_index, zero_config
from helpers.training import metric
from safetensors.torch import load_file

from asrscale.common.distributed import World
from asrscale.common.errors import Stopped
from asrscale.training import loop
from asrscale.training.checkpoint import RunState, load_weights, read_state
from asrscale.training.run_context import RunContext
from asrscale.training.schedule import average_decay_at


def test_a_run_stopped_in_its_last_evaluation_takes_no_step_beyond_it(
    tone_shards: Path, tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = replace(make_context(tone_shards, warmup_steps=0, eval_steps=2, patience=1), world=world, folder=tmp_path)
    stopped = RunState(step=2, best=(0.0, 0.0, 0.0), best_step=1)
    ended = fit_quietly(own, stopped)
    assert ended == replace(stopped, evaluated_step=2, stale_evaluations=1, last=ended.last)
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


@pytest.mark.parametrize("during", ["_save", "_evaluate"])
def test_a_stop_that_is_requested_in_a_pause_comes_before_the_next_step(
    during: str, tone_shards: Path, tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dict(max_steps=8, warmup_steps=0, eval_steps=100, save_steps=100) | {
        {"_save": "save_steps", "_evaluate": "eval_steps"}[during]: 3
    }
    own = replace(make_context(tone_shards, **settings), world=world, folder=tmp_path)
    pause = getattr(loop, during)

    def requested(*given: Any, **settings: Any) -> RunState:
        own.watch.stopping = True
        return cast(RunState, pause(*given, **settings))

    monkeypatch.setattr(loop, during, requested)
    with pytest.raises(Stopped):
        fit_quietly(own, RunState())
    assert (tmp_path / "checkpoints" / "latest").read_text().strip() == "step-00000003"


def transcribing(context: RunContext) -> RunContext:
    """The same run, of a model whose head counts as trained."""
    return replace(context, recognizer=replace(context.recognizer, transcribes=True))


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_model_that_transcribes_is_evaluated_and_saved_before_its_first_step(
    stage: int, tone_shards: Path, tmp_path: Path, world: World
) -> None:
    """The steps are the same as without, also where the run goes on from the checkpoint of step 0."""
    settings = dict(max_steps=3, warmup_steps=0, eval_steps=2, save_steps=9, log_steps=1, ema=0.5)

    def own_context(name: str) -> RunContext:
        context = make_context(tone_shards, **settings)
        return replace(context, world=world, folder=tmp_path / name, ds_config=zero_config(stage))

    without = fit_quietly(own_context("without"), RunState())
    assert without.before is None and 0 not in metric(tmp_path / "without", "valid/wer")

    own = transcribing(own_context("with"))
    ended = fit_quietly(own, RunState())
    before = tuple(metric(own.folder, f"valid/{name}")[0] for name in ("wer", "cer", "loss"))
    assert before == ended.before and metric(own.folder, "valid/wer").keys() == {0, 2, 3}
    assert metric(own.folder, "train/loss") == metric(tmp_path / "without", "train/loss")
    assert set(metric(own.folder, "valid/wer_before").values()) == {ended.before[0]}

    # As after a kill in the first step: the best so far is on the disk.
    again = transcribing(own_context("again"))
    first_steps = replace(again, total_steps=0)
    fit_quietly(first_steps, RunState())
    first = tmp_path / "again" / "checkpoints" / "step-00000000"
    state = read_state(first)
    assert state == RunState(before=ended.before, last=ended.before, best=ended.before, best_step=0)
    load_weights(again.recognizer, first)
    assert fit_quietly(again, state, first) == ended
    for name in ("train/loss", "valid/wer", "valid/loss"):
        assert metric(again.folder, name) == metric(own.folder, name)


HOST = {"device": "cpu"}


@pytest.mark.parametrize(
    ("stage", "offload"),
    [
        (0, {}),
        (3, {"offload_optimizer": HOST}),
        pytest.param(1, {}, marks=pytest.mark.slow),
        pytest.param(2, {}, marks=pytest.mark.slow),
        pytest.param(2, {"offload_optimizer": HOST}, marks=pytest.mark.slow),
        pytest.param(3, {}, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_trains_its_head_first_goes_on_bit_for_bit(
    stage: int, offload: dict[str, object], tone_shards: Path, tmp_path: Path, world: World
) -> None:
    """From within these steps, from the last of them, and from the warm-up of the other weights after them."""
    settings = dict(max_steps=5, warmup_steps=2, freeze_steps=2, save_steps=1, save_total_limit=9, eval_steps=100)
    settings |= dict(layerdrop=0.3, dropout=0.1, ema=0.5, weight_decay=0.1)

    def own_context(name: str) -> RunContext:
        context = make_context(tone_shards, **settings)
        return replace(context, world=world, folder=tmp_path / name, ds_config=zero_config(stage, **offload))

    undisturbed = own_context("undisturbed")
    fit_quietly(undisturbed, RunState())
    expected = states_at(undisturbed.folder, 5)
    for step in (1, 2, 3):
        own = own_context(f"resumed-{step}")
        shutil.copytree(undisturbed.folder, own.folder)
        checkpoint = own.folder / "checkpoints" / f"step-{step:08d}"
        load_weights(own.recognizer, checkpoint)
        fit_quietly(own, read_state(checkpoint), checkpoint)
        found = states_at(own.folder, 5)
        assert found.keys() == expected.keys()
        assert all(value.equal(found[name]) for name, value in expected.items()), step

    # The average of what waits is what waits, and then follows.
    waiting, first = (states_at(undisturbed.folder, step) for step in (2, 3))
    below = [name for name in first if f"weight_average/{name}" in first and not name.startswith("lm_head.")]
    assert below and all(waiting[name].equal(waiting[f"weight_average/{name}"]) for name in below)
    for name in below:
        decay = average_decay_at(2, 0.5)
        average = decay * waiting[name] + (1 - decay) * first[name]
        assert torch.allclose(average, first[f"weight_average/{name}"], atol=1e-7), name


def states_at(folder: Path, step: int) -> dict[str, torch.Tensor]:
    """Weights, moments, counts and averages of a checkpoint."""
    checkpoint = folder / "checkpoints" / f"step-{step:08d}"
    return load_file(checkpoint / "model.safetensors") | load_file(checkpoint / "optimizer.safetensors")
