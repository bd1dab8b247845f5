"""The training loop in a world of one; tests/test_train.py starts real ranks."""

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.contexts import fit_quietly, make_context

from asrscale.common.distributed import World
from asrscale.training.checkpoint import RunState, read_state


def test_a_run_stopped_in_its_last_evaluation_takes_no_step_beyond_it(
    tone_shards: Path, tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = replace(make_context(tone_shards, warmup_steps=0, eval_steps=2, patience=1), world=world, folder=tmp_path)
    stopped = RunState(step=2, best=(0.0, 0.0, 0.0), best_step=1)
    ended = fit_quietly(own, stopped)
    assert ended == replace(stopped, evaluated_step=2, stale_evaluations=1)
    assert read_state(tmp_path / "checkpoints" / "step-00000002") == ended
