"""The parts of the loop that need no launcher; tests/test_train.py runs the whole."""

from pathlib import Path

import numpy as np
import pytest
import torch

from asrscale.batching import num_steps
from asrscale.checkpoint import RunState
from asrscale.config import train_config
from asrscale.engine import World
from asrscale.fit import Job, is_over, learning_rate, seed_pass, steps_from
from asrscale.index import read_index
from asrscale.model import build_recognizer


def job(shards: Path, rank: int = 0, world_size: int = 1, **given: object) -> Job:
    settings = dict(batch_seconds=3.0, units_per_step=2, memory_cap_seconds=3.0, max_steps=40) | given
    config = train_config(train=(str(shards / "train"),), valid=(str(shards / "valid"),), model="tiny", **settings)
    index = read_index(config.train)
    steps_per_epoch = num_steps(index.num_samples, int(config.batch_seconds * 16_000), config.units_per_step)
    world = World(rank, rank, world_size, torch.device("cpu"))
    recognizer = build_recognizer("tiny", "")
    return Job(config, world, Path("run"), recognizer, index, index, steps_per_epoch, config.max_steps)


def test_every_epoch_visits_each_utterance_once_and_any_step_is_found_directly(tone_shards: Path) -> None:
    whole = job(tone_shards)
    steps = list(steps_from(whole, 0))
    assert [step.number for step in steps] == list(range(40))
    for epoch in range(40 // whole.steps_per_epoch):
        seen = [
            int(utterance)
            for step in steps[epoch * whole.steps_per_epoch : (epoch + 1) * whole.steps_per_epoch]
            for batch in step.batches
            for utterance in batch.utterances
        ]
        assert sorted(seen) == list(range(len(whole.train)))
    later = next(iter(steps_from(whole, 17)))
    assert later.number == 17
    for batch, expected in zip(later.batches, steps[17].batches, strict=True):
        assert np.array_equal(batch.utterances, expected.utterances)


def test_three_ranks_together_do_the_steps_of_one(tone_shards: Path) -> None:
    one = list(steps_from(job(tone_shards), 0))
    ranks = [list(steps_from(job(tone_shards, rank, 3), 0)) for rank in range(3)]
    for number, step in enumerate(one):
        parts = [ranks[rank][number] for rank in range(3)]
        together = np.concatenate([batch.utterances for part in parts for batch in part.batches])
        alone = np.concatenate([batch.utterances for batch in step.batches])
        assert sorted(together) == sorted(alone) and len(alone) == step.utterances
        assert {part.utterances for part in parts} == {step.utterances}
        assert len({len(part.batches) for part in parts}) == 1


def test_randomness_of_a_pass_depends_on_seed_step_and_utterances_only() -> None:
    def drawn(*where: object) -> tuple[float, float]:
        seed_pass(*where)
        return float(torch.rand([])), float(np.random.rand())

    first = np.array([4, 9])
    assert drawn(1, 2, first) == drawn(1, 2, first)
    others = [drawn(2, 2, first), drawn(1, 3, first), drawn(1, 2, np.array([5])), drawn(1, 2, np.zeros(0, np.int64))]
    assert len({drawn(1, 2, first), *others}) == 5


def test_a_run_is_over_at_its_end_or_out_of_patience(tone_shards: Path) -> None:
    patient, endless = job(tone_shards, patience=2), job(tone_shards, patience=0)
    assert not is_over(patient, RunState(step=39, stale_evaluations=1))
    assert is_over(patient, RunState(step=40)) and is_over(patient, RunState(step=1, stale_evaluations=2))
    assert not is_over(endless, RunState(step=1, stale_evaluations=9))


def test_the_learning_rate_follows_the_schedule(tone_shards: Path) -> None:
    running = job(tone_shards, warmup_steps=10)
    assert learning_rate(running, 10) == pytest.approx(3e-3) > learning_rate(running, 39)
