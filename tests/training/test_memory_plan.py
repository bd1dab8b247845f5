from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.planned import architecture_file

from asrscale.common import distributed
from asrscale.common.errors import CliError
from asrscale.data.catalog import read_catalog
from asrscale.data.run_plan import RunPlan, plan_run
from asrscale.memory.gpus import GIB, find_gpu
from asrscale.model.building import build_recognizer
from asrscale.training.config import TrainConfig, train_config
from asrscale.training.memory_plan import SEARCHED, advise, plan_memory, search, workload_of, zero_sections


def settings(shards: Path, **given: Any) -> TrainConfig:
    return train_config(train=(str(shards / "train"),), valid=(str(shards / "valid"),), precision="bf16", **given)


def plan_of(config: TrainConfig) -> RunPlan:
    recognizer = build_recognizer("tiny", "")
    return plan_run(
        read_catalog(config.data.train),
        recognizer.vocabulary,
        recognizer.geometry,
        seed=1,
        batch_seconds=160.0,
        units_per_step=4,
    )


def planned(shards: Path, **given: Any) -> tuple[TrainConfig, float | None]:
    """The settings of a run with its memory cap, in a world of one on the CPU, and the peak to expect."""
    config = settings(shards, **given)
    with distributed.joined_ranks() as world:
        return plan_memory(config, plan_of(config), world)


def test_a_cpu_has_a_cap_of_its_own_and_a_given_one_wins(tone_shards: Path) -> None:
    config, peak_bytes = planned(tone_shards, model="tiny")
    assert config.memory.memory_cap_seconds == 40 and peak_bytes is None
    config, peak_bytes = planned(tone_shards, model="tiny", memory_cap_seconds=3.0)
    assert config.memory.memory_cap_seconds == 3 and peak_bytes is None


def test_the_cap_is_the_planners(tone_shards: Path, tmp_path: Path) -> None:
    how = dict(model=architecture_file(tmp_path, "base"), memory_gib=3.0)
    config, peak_bytes = planned(tone_shards, **how)
    longest_seconds = float(read_catalog(config.data.train).longest_samples.max()) / 16_000
    ways = search(config, [longest_seconds], [find_gpu("3")], 1)["3 GiB"]
    [same] = [way for way in ways if way.config == config.memory.config and way.activation_checkpointing == 1]
    assert config.memory.memory_cap_seconds == same.cap_seconds
    assert 0.98 < peak_bytes * 1.05 / GIB / (3 - 0.516) < 1  # but for the context, and 5 % for fragmentation
    given, smaller_bytes = planned(tone_shards, memory_cap_seconds=10.0, **how)
    assert given.memory.memory_cap_seconds == 10 and smaller_bytes < peak_bytes


def test_what_does_not_fit_is_reported_with_the_planners_advice(tone_shards: Path, tmp_path: Path) -> None:
    advice = r"try --config ds_configs/zero2_offload\.json "
    with pytest.raises(CliError, match=rf"^an utterance of 1\.6 s does not fit into 2\.0 GiB: {advice}"):
        planned(tone_shards, model=architecture_file(tmp_path, "base"), memory_gib=2.0)


def test_the_length_that_does_not_fit_is_said_to_be_the_slowed_one(tone_shards: Path, tmp_path: Path) -> None:
    config = settings(tone_shards, model=architecture_file(tmp_path, "base"), memory_gib=2.0)
    plan = replace(plan_of(config), perturb_speed=True)
    message = r"^an utterance of 1\.8 s \(1\.6 s, at 0\.9 of its speed for --perturb_speed\) does not fit into 2\.0 GiB"
    with distributed.joined_ranks() as world, pytest.raises(CliError, match=message):
        plan_memory(config, plan, world)


def test_advice_is_for_a_tenth_less_than_was_planned(tone_shards: Path) -> None:
    def advice(**given: Any) -> str:
        config = settings(
            tone_shards, model="tiny", batch_seconds=6.0, units_per_step=2, freeze_feature_encoder=False, **given
        )
        with distributed.joined_ranks() as world:
            return advise(config, plan_of(config), world)

    assert advice() == "run asrscale.plan with the same flags to see what fits"
    less = advice(memory_gib=2.0)
    assert less.startswith("an utterance of 1.6 s does not fit into 0.6 GiB: try a smaller --model")
    assert advice(memory_gib=4.0) == less  # what was planned depends on the run, not on the card


def test_fixed_settings_stay_and_others_are_searched() -> None:
    config = train_config(train=(), valid=(), model="tiny", config="ds_configs/zero1.json", activation_checkpointing=3)

    def found(gpu_count: int, *fixed: str) -> tuple[set[str], set[int]]:
        [ways] = search(config, [5.0], [find_gpu("12")], gpu_count, fixed=fixed).values()
        names = {Path(way.config).stem for way in ways}
        return names, {way.activation_checkpointing for way in ways}

    assert found(1, *SEARCHED) == ({"zero1"}, {3})
    assert found(1, "activation_checkpointing") == ({"zero2", "zero2_offload"}, {3})
    assert found(2, "activation_checkpointing") == ({"zero1", "zero2", "zero3", "zero2_offload"}, {3})
    assert found(2, "config") == ({"zero1"}, {0, 1, 2, 4})


def test_the_workload_of_a_run_has_its_settings() -> None:
    config = train_config(
        train=(),
        valid=(),
        model="tiny",
        lora_rank=4,
        dropout=0.3,
        attention="eager",
        units_per_step=3,
        batch_seconds=20.0,
    )
    workload = workload_of(config)
    assert (workload.model, workload.lora_rank, workload.dropout) == ("tiny", 4, 0.3)
    assert (workload.attention, workload.step_seconds, workload.dtype) == ("eager", 60, torch.bfloat16)
    whole = workload_of(train_config(train=(), valid=(), model="tiny", precision="fp32"))
    assert whole.dtype == torch.float32
    assert not whole.keeps_average
    assert workload_of(train_config(train=(), valid=(), model="tiny", ema=0.99)).keeps_average


def test_zero_sections_are_resolved_for_a_gpu() -> None:
    sections = zero_sections(["ds_configs/zero1.json", "ds_configs/zero3.json"], "auto")
    assert [section["stage"] for section in sections.values()] == [1, 3]
    assert [section["overlap_comm"] for section in sections.values()] == [False, True]
