"""What a run writes down about its steps, without a launcher."""

import json
import math
import resource
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.contexts import fit_quietly, make_context, step_of, train_index

from asrscale.common.distributed import World
from asrscale.common.errors import CliError
from asrscale.data.catalog import read_catalog
from asrscale.data.index import read_index
from asrscale.data.loader import Damaged, Unaugmented
from asrscale.data.step_reader import Step
from asrscale.training.checkpoint import RunState
from asrscale.training.records import (
    count_skipped,
    open_records,
    own_keys,
    quarantine,
    record_unaugmented,
    record_visits,
    sync_records,
)


def test_the_quarantine_lists_each_and_stops_the_run_above_the_limit(
    tone_shards: Path, tmp_path: Path, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    own = replace(make_context(tone_shards), world=world, folder=tmp_path)
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


def test_what_was_drawn_and_not_applied_is_listed_and_announced_once(
    tone_shards: Path, tmp_path: Path, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    own = replace(make_context(tone_shards), world=world, folder=tmp_path)
    train = train_index(own)
    record_unaugmented(own, Step(0, 9, 1, 1, [], (), train))
    assert not (tmp_path / "unaugmented").exists()
    for number in (4, 5):
        record_unaugmented(own, Step(number, 9, 1, 1, [], (), train, (Unaugmented(3, "noise: a.wav: gone"),)))
    file = tmp_path / "unaugmented" / "rank-00000.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["step"] for row in rows] == [5, 6]
    assert rows[0]["key"] == train.keys[3].as_py() and rows[0]["reason"] == "noise: a.wav: gone"
    warning = f"warning: not all is applied that --augment drew: noise: a.wav: gone; listed in {file}\n"
    assert capsys.readouterr().err == warning
    sync_records(own)
    open_records(own, 5)
    assert len(file.read_text().splitlines()) == 1


def test_a_full_disk_costs_no_row_of_a_record(
    tone_shards: Path, tmp_path: Path, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    own = replace(make_context(tone_shards), world=world, folder=tmp_path)
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
    own = replace(make_context(tone_shards, max_skipped_steps=3), world=world, folder=tmp_path)
    step = step_of(own, [np.array([4, 7]), np.array([9])], 3)
    assert count_skipped(own, step, RunState(skipped_steps=1), 0.5) == 0 == count_skipped(own, step, RunState(), None)
    assert count_skipped(own, step, RunState(skipped_steps=1), float("inf")) == 2
    [row] = map(json.loads, (tmp_path / "skipped.jsonl").read_text().splitlines())
    assert row == {"step": 1, "epoch": 0, "keys": sorted(step.index.keys.take([4, 7, 9]).to_pylist())}
    with pytest.raises(FloatingPointError, match=r"3 steps in a row, up to step 1, .*skipped\.jsonl.*--learning_rate"):
        count_skipped(own, step, RunState(skipped_steps=2), float("nan"))
    open_records(own, 0)
    assert (tmp_path / "skipped.jsonl").read_text() == ""


def test_the_ledger_tells_two_folders_of_one_name_apart(tone_shards: Path, tmp_path: Path, world: World) -> None:
    for corpus in ("one", "two"):
        shutil.copytree(tone_shards / "train", tmp_path / corpus / "train")
    own = replace(make_context(tone_shards), world=world, folder=tmp_path)
    catalog = read_catalog([str(tmp_path / corpus / "train") for corpus in ("one", "two")])
    own = replace(own, plan=replace(own.plan, catalog=catalog))
    count = len(train_index(own)) // 2
    step = step_of(own, [np.array([4]), np.array([4 + count])], 2)
    record_visits(own, step)
    count_skipped(own, step, RunState(), float("inf"))
    key = train_index(own).keys[4].as_py()
    for path in (tmp_path / "ledger" / "rank-00000.jsonl", tmp_path / "skipped.jsonl"):
        assert json.loads(path.read_text())["keys"] == [f"one/train/{key}", f"two/train/{key}"]


def test_the_ledger_of_a_mix_has_each_utterance_as_often_as_its_weight_says(
    tone_shards: Path, tmp_path: Path, world: World
) -> None:
    mix = {"train": 0.3, "valid": 2.5}
    train = tuple(f"{tone_shards / name}={weight}" for name, weight in mix.items())
    settings = dict(train=train, batch_seconds=20.0, memory_cap_seconds=20.0, units_per_step=1, warmup_steps=0)
    steps_per_epoch = make_context(tone_shards, **settings).plan.steps_per_epoch
    settings |= dict(max_steps=2 * steps_per_epoch, eval_steps=1_000, ledger=True)
    own = replace(make_context(tone_shards, **settings), world=world, folder=tmp_path)
    fit_quietly(own, RunState())

    rows = map(json.loads, (tmp_path / "ledger" / "rank-00000.jsonl").read_text().splitlines())
    epochs = [Counter(), Counter()]
    for row in rows:
        epochs[(row["step"] - 1) // steps_per_epoch].update(row["keys"])
    for name, weight in mix.items():
        keys = {f"{name}/{key}" for key in read_index([str(tone_shards / name)]).keys.to_pylist()}
        for visits in epochs:
            assert {visits[key] for key in keys} == {math.floor(weight), math.ceil(weight)}
            total = sum(visits[key] for key in keys)
            assert abs(total - len(keys) * weight) < 4 * math.sqrt(len(keys) / 4)
    assert epochs[0] != epochs[1] and sum(map(len, epochs)) < 2 * len(train_index(own))
