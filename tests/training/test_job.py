"""What a run is and what it writes down, without a launcher; tests/test_fit.py trains."""

import json
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from asrscale.common import distributed
from asrscale.common.distributed import World
from asrscale.common.errors import CliError
from asrscale.data.catalog import read_catalog
from asrscale.data.index import Index, read_index, read_shards
from asrscale.data.loader import Damaged, load_steps
from asrscale.data.run_plan import plan_run
from asrscale.data.step_reader import Step
from asrscale.model.building import build_recognizer
from asrscale.model.regularisation import attach_regulariser
from asrscale.speech.pcm import SAMPLE_RATE_HZ
from asrscale.training.checkpoint import RunState
from asrscale.training.config import train_config
from asrscale.training.memory_rescue import PassCap
from asrscale.training.meter import Meter
from asrscale.training.records import count_skipped, open_records, own_keys, quarantine, record_visits, sync_records
from asrscale.training.run_context import RunContext
from asrscale.training.watch import Watch


def job(shards: Path, **given: object) -> RunContext:
    settings = dict(batch_seconds=3.0, units_per_step=2, memory_cap_seconds=3.0, max_steps=40) | given
    config = train_config(train=(str(shards / "train"),), valid=(str(shards / "valid"),), model="tiny", **settings)
    world, valid = World(0, 0, 1, torch.device("cpu")), read_index(config.data.valid)
    recognizer = build_recognizer("tiny", "", dropout=config.model.dropout)
    catalog = read_catalog(config.data.train)
    plan = plan_run(catalog, recognizer.vocabulary, recognizer.stem, seed=1, batch_seconds=3.0, units_per_step=2)
    regulariser = attach_regulariser(recognizer.model, mask_time_prob=0.0, mask_feature_prob=0.0, layerdrop=0.0)
    watch, cap = (
        Watch(Path("run")),
        PassCap(Path("rescues.jsonl"), {}, int(config.memory.memory_cap_seconds * SAMPLE_RATE_HZ), 8_000),
    )
    return RunContext(
        config, world, Path("run"), recognizer, regulariser, plan, valid, config.batching.max_steps, watch, cap
    )


def train_index(own: RunContext) -> Index:
    return read_shards(own.plan.catalog, range(len(own.plan.catalog.shards)))


def step_of(own: RunContext, passes: list[np.ndarray], expected: int) -> Step:
    """What the loader makes of passes of utterances, `expected` of them."""
    index = train_index(own)
    [loaded] = load_steps(index, own.recognizer.vocabulary, [passes], threads=1)
    return Step(0, expected, 1, 1, loaded.batches, loaded.damaged, index)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with distributed.joined_ranks() as joined:
        yield joined


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
