"""The parts of the loop that need no launcher; tests/test_train.py runs the whole."""

import json
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import flip_bit

from asrscale import engine as ds
from asrscale import fit as fit_module
from asrscale.checkpoint import RunState, read_state
from asrscale.config import train_config
from asrscale.engine import World
from asrscale.errors import CliError
from asrscale.fit import count_utterances, fit, loss_sum, take_empty_step, train_step
from asrscale.index import Index, read_catalog, read_index, read_shards
from asrscale.job import Job, Meter, count_skipped, open_records, own_keys, quarantine, record_visits, sync_records
from asrscale.loader import Damaged, load_steps
from asrscale.model import build_recognizer
from asrscale.regularise import attach_regulariser
from asrscale.steps import Step, plan_run
from asrscale.tracking import open_tracker
from asrscale.watch import Watch


def job(shards: Path, **given: object) -> Job:
    settings = dict(batch_seconds=3.0, units_per_step=2, memory_cap_seconds=3.0, max_steps=40) | given
    config = train_config(train=(str(shards / "train"),), valid=(str(shards / "valid"),), model="tiny", **settings)
    plan = plan_run(read_catalog(config.train), seed=1, batch_seconds=3.0, units_per_step=2)
    world, valid = World(0, 0, 1, torch.device("cpu")), read_index(config.valid)
    recognizer = build_recognizer("tiny", "")
    regulariser = attach_regulariser(recognizer.model, mask_time_prob=0.0, mask_feature_prob=0.0, layerdrop=0.0)
    watch = Watch(Path("run"))
    return Job(config, world, Path("run"), recognizer, regulariser, plan, valid, config.max_steps, watch)


def train_index(own: Job) -> Index:
    return read_shards(own.plan.catalog, range(len(own.plan.catalog.shards)))


def test_a_run_is_over_at_its_end_or_out_of_patience(tone_shards: Path) -> None:
    patient, endless = job(tone_shards, patience=2), job(tone_shards, patience=0)
    assert not patient.is_over(RunState(step=39, stale_evaluations=1))
    assert patient.is_over(RunState(step=40, evaluated_step=40)) and patient.is_over(
        RunState(step=1, stale_evaluations=2)
    )
    assert not patient.is_over(RunState(step=40, evaluated_step=20))  # stopped in its last evaluation
    assert not endless.is_over(RunState(step=1, stale_evaluations=9))


def test_the_learning_rate_follows_the_schedule(tone_shards: Path) -> None:
    running = job(tone_shards, warmup_steps=10)
    assert running.learning_rate(10) == pytest.approx(3e-3)
    assert running.learning_rate(39) < 3e-3


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with ds.joined_ranks() as joined:
        yield joined


def step_of(own: Job, passes: list[np.ndarray], expected: int) -> Step:
    """What the loader makes of passes of utterances, `expected` of them."""
    index = train_index(own)
    [loaded] = load_steps(index, own.recognizer.vocabulary, [passes], threads=1)
    return Step(0, expected, 1, 1, loaded.batches, loaded.damaged, index)


def shipped(own: Job) -> dict[str, object]:
    """What DeepSpeed gets."""
    zero = {"zero_optimization": {"stage": 2}}
    return ds.resolve_ds_config(zero, precision="fp32", max_gradient_norm=1.0, device=own.world.device)


def trained(own: Job, step: Step, good: int) -> tuple[dict[str, torch.Tensor], float, float | None]:
    """The weights after one step at a constant learning rate, its loss, and the norm of its gradient."""
    model = own.recognizer.model.to(own.world.device)
    engine = ds.initialize(model, shipped(own), weight_decay=0.0, adam_beta2=0.98)
    engine.train()
    loss, norm = train_step(engine, own, step, good, Meter())
    engine.destroy()
    return {name: p.detach().cpu().clone() for name, p in model.named_parameters()}, float(loss), norm


def test_a_damaged_utterance_leaves_the_step_of_the_others(tone_shards: Path, own_shards: Path, world: World) -> None:
    intact, damaged = (replace(job(root, warmup_steps=0), world=world) for root in (tone_shards, own_shards))
    flip_bit(train_index(damaged), 4)
    passes = [np.array([4, 7, 9]), np.array([11, 30])]
    step = step_of(damaged, passes, 5)
    assert [one.utterance for one in step.damaged] == [4]
    assert count_utterances(damaged, step) == (4, 1)
    weights, loss, norm = trained(damaged, step, 4)
    expected, *same = trained(intact, step_of(intact, [np.array([7, 9]), np.array([11, 30])], 4), 4)
    assert [loss, norm] == same and all(weights[name].equal(expected[name]) for name in weights)

    fresh = replace(intact, recognizer=build_recognizer("tiny", ""))
    alone = step_of(fresh, [np.array([number]) for number in (7, 9, 11, 30)], 4)
    model = fresh.recognizer.model.eval()
    mean = sum(loss_sum(model, fresh.recognizer, batch) for batch in alone.batches) / 4
    mean.backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    # Adam's first step would be the same for a gradient of any length: its norm tells.
    assert loss == pytest.approx(float(mean.detach()), rel=1e-4)
    assert norm == pytest.approx(float(gradient.norm()), rel=1e-4)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_weights_that_wait_for_the_head_are_not_decayed(stage: int, tone_shards: Path, world: World) -> None:
    own = replace(job(tone_shards, warmup_steps=0, freeze_steps=2), world=world)
    zero = {"zero_optimization": {"stage": stage, "stage3_param_persistence_threshold": 0}}
    config = ds.resolve_ds_config(zero, precision="fp32", max_gradient_norm=1.0, device=world.device)
    engine = ds.initialize(own.recognizer.model, config, weight_decay=0.5, adam_beta2=0.98)
    seen = [ds.gather_weights(engine, {}, world)]
    for number in range(3):
        train_step(engine, own, replace(step_of(own, [np.array([4, 7])], 2), number=number), 2, Meter())
        seen.append(ds.gather_weights(engine, {}, world))
    changed = [{name for name in seen[0] if not now[name].equal(seen[0][name])} for now in seen[1:]]
    assert changed[0] == changed[1] == {"lm_head.weight", "lm_head.bias"}
    assert len(changed[2]) > 0.9 * len(seen[0])
    engine.destroy()


def test_a_step_without_a_good_utterance_touches_no_weight(own_shards: Path, world: World) -> None:
    own = replace(job(own_shards, warmup_steps=0), world=world)
    before = {name: p.detach().clone() for name, p in own.recognizer.model.named_parameters()}
    flip_bit(train_index(own), 4)
    step = step_of(own, [np.array([4])], 1)
    assert [len(batch.utterances) for batch in step.batches] == [0] and count_utterances(own, step) == (0, 1)
    weights, loss, _ = trained(own, step, 0)
    assert loss == 0 and all(weights[name].equal(before[name].cpu()) for name in weights)


def test_the_quarantine_lists_each_and_stops_the_run_above_the_limit(
    tone_shards: Path, tmp_path: Path, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    own = replace(job(tone_shards), world=world, folder=tmp_path)
    file, train = tmp_path / "quarantine.jsonl", train_index(own)
    assert open_records(own, 0) == 0
    quarantine(own, Step(4, 9, 1, 1, [], (Damaged(8, "checksum: x"), Damaged(3, "truncated: y")), train), 2, 20)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["key"] for row in rows] == train.keys.take([3, 8]).to_pylist()
    assert rows[1]["shard"] == train.shards[train.shard_ids[8]] and rows[1]["reason"] == "checksum: x"
    assert rows[0]["step"] == 5 and rows[0]["epoch"] == 4 // own.plan.steps_per_epoch

    quarantine(own, Step(5, 9, 1, 1, [], (Damaged(1, "checksum: z"),), train), 9, 20)  # too few to judge by
    quarantine(own, Step(6, 9, 1, 1, [], (Damaged(2, "checksum: z"),), train), 10, 1_000)  # 1 % is not above 1 %
    with pytest.raises(CliError, match=r"^10 of 999 utterances are damaged, listed in .*quarantine\.jsonl"):
        quarantine(own, Step(7, 9, 1, 1, [], (Damaged(2, "checksum: z"),), train), 10, 999)
    assert len(file.read_text().splitlines()) == 5

    with file.open("a") as torn:  # by a power cut, which leaves zeros, and by a kill; between them a rare line break
        torn.write('\0\0\0\0 3}\n{"step": 5, "key": "a\u2028b"}\n\0\0\0\0{"step": 5, "ep')
    assert open_records(own, 5) == 3 and file.read_text().count("\n") == 3
    assert capsys.readouterr().err == f"warning: {file}: 2 torn line(s) dropped\n"


def test_a_full_disk_costs_no_row_of_a_record(
    tone_shards: Path, tmp_path: Path, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    own = replace(job(tone_shards), world=world, folder=tmp_path)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    path, rows = tmp_path / "ledger" / "rank-00000.jsonl", []
    for number, room in enumerate((10_000, 50, 50, 10_000)):  # bytes
        step = replace(step_of(own, [np.array([4, 7, 9])] * 3, 9), number=number)
        size = path.stat().st_size if path.exists() else 0
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (size + room, unlimited[1])
        )  # Python ignores SIGXFSZ: an OSError remains
        try:
            record_visits(own, step)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        rows += [{"step": number + 1, "keys": own_keys(step)}]
        if room == 50:
            assert path.read_text() == json.dumps(rows[0]) + "\n"  # no half of a line
    assert [json.loads(line) for line in path.read_text().splitlines()] == rows
    assert capsys.readouterr().err == f"warning: {path}: File too large; tried again with the next\n"
    (tmp_path / "skipped.jsonl").mkdir()  # cannot be written at all
    assert count_skipped(own, step, RunState(), float("inf")) == 1
    (tmp_path / "skipped.jsonl").rmdir()
    sync_records(own)  # as before each save
    assert len((tmp_path / "skipped.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_run_whose_first_steps_are_skipped_can_be_saved(stage: int, tone_shards: Path, world: World) -> None:
    own = replace(job(tone_shards), world=world)
    zero = {"zero_optimization": {"stage": stage}}
    config = ds.resolve_ds_config(zero, precision="fp32", max_gradient_norm=1.0, device=world.device)
    engine = ds.initialize(own.recognizer.model, config, weight_decay=0.1, adam_beta2=0.98)
    before = ds.gather_weights(engine, {}, world)
    take_empty_step(engine, own)
    batch = step_of(own, [np.array([4])], 1).batches[0]
    ds.backward(engine, loss_sum(engine, own.recognizer, batch) * float("nan"), world)
    assert not np.isfinite(ds.take_step(engine, 0.1))
    weights, moments = ds.gather_weights(engine, {}, world), ds.gather_moments(engine, world)
    assert not any(bool(value.any()) for value in moments.values())
    assert all(weights[name].equal(before[name]) for name in weights)
    engine.destroy()


def test_a_step_without_a_finite_gradient_is_listed_and_too_many_end_the_run(
    tone_shards: Path, tmp_path: Path, world: World
) -> None:
    own = replace(job(tone_shards, max_skipped_steps=3), world=world, folder=tmp_path)
    step = step_of(own, [np.array([4, 7]), np.array([9])], 3)
    assert count_skipped(own, step, RunState(skipped_steps=1), 0.5) == 0 == count_skipped(own, step, RunState(), None)
    assert count_skipped(own, step, RunState(skipped_steps=1), float("inf")) == 2
    [row] = map(json.loads, (tmp_path / "skipped.jsonl").read_text().splitlines())
    assert row == {"step": 1, "epoch": 0, "keys": sorted(step.index.keys.take([4, 7, 9]).to_pylist())}
    with pytest.raises(FloatingPointError, match=r"3 steps in a row, up to step 1, .*skipped\.jsonl.*--learning_rate"):
        count_skipped(own, step, RunState(skipped_steps=2), float("nan"))
    open_records(own, 0)
    assert (tmp_path / "skipped.jsonl").read_text() == ""


def fitted(own: Job, state: RunState, resumed: Path | None = None) -> RunState:
    """Where `fit` ends."""
    tracking = open_tracker(own.folder, project="", config={}, wandb_mode="off", resume_step=state.step)
    with tracking as tracker:
        return fit(own, state, resumed, shipped(own), tracker)


def test_a_failed_save_of_a_new_best_costs_no_best_model_on_the_disk(
    tone_shards: Path, tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dict(max_steps=4, warmup_steps=0, eval_steps=2, save_steps=1, save_total_limit=1)
    own = replace(job(tone_shards, **settings), world=world, folder=tmp_path)
    original, best = fit_module.save_checkpoint, []

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
    engine = ds.initialize(own.recognizer.model, shipped(own), weight_decay=0.0, adam_beta2=0.98)
    take_empty_step(engine, own)
    assert original(engine, {}, start, tmp_path, keep=1, world=world) is None
    engine.destroy()
    own = replace(own, recognizer=build_recognizer("tiny", ""))
    monkeypatch.setattr(fit_module, "save_checkpoint", full_at_step_2)
    ended = fitted(own, start, tmp_path / "checkpoints" / "step-00000000")
    assert best == ["step-00000000"] * 3 + ["step-00000004"] and ended.best_step == 4


def test_a_run_stopped_in_its_last_evaluation_takes_no_step_beyond_it(
    tone_shards: Path, tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = replace(job(tone_shards, warmup_steps=0, eval_steps=2, patience=1), world=world, folder=tmp_path)
    stopped = RunState(step=2, best=(0.0, 0.0, 0.0), best_step=1)
    ended = fitted(own, stopped)
    assert ended == replace(stopped, evaluated_step=2, stale_evaluations=1)
    assert read_state(tmp_path / "checkpoints" / "step-00000002") == ended


def test_a_line_of_metrics_tells_the_slowest_rank_and_what_was_skipped(tone_shards: Path, world: World) -> None:
    own = replace(job(tone_shards), world=world)
    step, meter = step_of(own, [np.array([4])], 1), Meter()
    meter.forward_seconds += 0.5
    meter.add(step, 0, torch.tensor(3.0), 1.0, 0.25)
    meter.add(step, 0, torch.tensor(float("nan")), float("inf"), 0.0)
    values = meter.values(own, RunState(step=2, restarts=2))
    assert values["train/loss"] == 3.0 and values["train/skipped"] == 1 and values["run/restarts"] == 2
    assert values["speed/slowest_rank"] == 0 and values["speed/slowest_rank_behind_seconds"] == 0
    assert values["speed/rank_seconds"] == (0.375,)  # of 0.25 s of waiting and 0.5 s of computing in two steps
    assert values["memory/host_bytes"] > 50e6 and values["memory/device_bytes"] == 0
