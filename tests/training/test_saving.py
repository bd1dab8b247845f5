"""Checkpoints that cannot be written."""

import resource
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.contexts import fit_quietly, make_context

from asrscale.common.distributed import World
from asrscale.model.building import build_recognizer
from asrscale.training import engine as ds
from asrscale.training import saving
from asrscale.training.checkpoint import RunState
from asrscale.training.step import rehearse


def test_a_failed_save_of_a_new_best_costs_no_best_model_on_the_disk(
    tone_shards: Path, tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dict(max_steps=4, warmup_steps=0, eval_steps=2, save_steps=1, save_total_limit=1)
    own = replace(make_context(tone_shards, **settings), world=world, folder=tmp_path)
    original = saving.save_checkpoint
    best: list[str] = []

    def full_at_step_2(engine: ds.Engine, frozen: object, state: RunState, *given: object, **named: object) -> object:
        unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
        if state.step == 2:
            assert state.best_step == 2
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, unlimited[1]))
        try:
            return original(engine, frozen, state, *given, **named)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
            pointer = tmp_path / "checkpoints" / "best"
            best.append(pointer.read_text().strip())
            assert (pointer.parent / best[-1]).is_dir()

    start = RunState(best=(9.0, 9.0, 9.0), best_step=0)
    engine = ds.initialize(own.recognizer.model, own.ds_config, weight_decay=0.0, adam_beta2=0.98)
    rehearse(engine, own)
    assert original(engine, {}, start, tmp_path, keep=1, world=world) is None
    engine.destroy()
    own = replace(own, recognizer=build_recognizer("tiny", ""))
    monkeypatch.setattr(saving, "save_checkpoint", full_at_step_2)
    ended = fit_quietly(own, start, tmp_path / "checkpoints" / "step-00000000")
    assert best == ["step-00000000"] * 3 + ["step-00000004"] and ended.best_step == 4
