import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import REPOSITORY

from asrscale.common.distributed import World
from asrscale.common.errors import CliError
from asrscale.training import ds_config
from asrscale.training.ds_config import read_ds_config

CPU = torch.device("cpu")
GPU = torch.device("cuda", 0)
WORLD = World(rank=0, local_rank=0, world_size=1, device=CPU)


def written(folder: Path, content: object) -> str:
    path = folder / "ds.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not valid JSON"),
        ([1], "holds no JSON object"),
        ({"train_batch_size": 8}, '"train_batch_size" must be "auto" or absent: use --batch_seconds'),
        ({"optimizer": {"type": "Adam"}}, '"optimizer" must be "auto" or absent: use --learning_rate'),
        ({"scheduler": {}}, '"scheduler" must be "auto" or absent'),
        ({"bf16": {"enabled": True}}, '"bf16" must be an object whose "enabled" is "auto": use --precision'),
        ({"fp16": True}, '"fp16" must be an object'),
        ({"zero_optimization": {"stage": 4}}, '"zero_optimization" needs a "stage" of 0, 1, 2 or 3'),
        ({"zero_optimization": 2}, '"zero_optimization" needs a "stage"'),
        ({"asrscale": 5}, '"asrscale" may hold "stage_0_up_to_parameters" alone'),
        ({"asrscale": {"stage_0": 5}}, '"asrscale" may hold "stage_0_up_to_parameters" alone'),
        ({"asrscale": {"stage_0_up_to_parameters": "5"}}, "a number of parameters"),
        ({"asrscale": {"stage_0_up_to_parameters": -5}}, "a number of parameters"),
        ("[" * 100_000, "is not valid JSON: brackets nested too deep"),
        ({"comet": {"api_key": "s3cret"}}, '"api_key" is secret'),
        ({"wandb": {"hosts": ["https://ann:s3cret@host"]}}, '"hosts" is secret'),
    ],
)
def test_a_configuration_that_would_fight_us_is_refused(content: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(CliError) as caught:
        ds_config.read_ds_config(written(tmp_path, content))
    assert message in str(caught.value) and "ds.json" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_the_shipped_configurations_resolve_without_auto(stage: int) -> None:
    config = ds_config.read_ds_config(f"ds_configs/zero{stage}.json")
    for device in (CPU, GPU):
        resolved = ds_config.resolve_ds_config(config, precision="fp32", max_gradient_norm=0.5, device=device)
        assert "auto" not in json.dumps(resolved)
        assert resolved["zero_optimization"]["stage"] == stage and resolved["gradient_clipping"] == 0.5
        overlaps = resolved["zero_optimization"]["overlap_comm"]
        assert overlaps == (device == GPU and stage >= 2)


@pytest.mark.parametrize(
    ("name", "changes", "stage"),
    [
        ("zero1", {}, 0),
        ("zero2", {}, 0),
        ("zero2", {"parameters": 20_000_001}, 2),
        ("zero1", {"parameters": 10**9, "world_size": 1}, 0),
        ("zero2", {"parameters": 10**9, "world_size": 1}, 0),
        ("zero2", {"world_size": 1, "device": GPU}, 2),
        ("zero2", {"world_size": 1, "precision": "bf16"}, 2),
        ("zero2", {"precision": "bf16"}, 2),
        ("zero2", {"device": GPU}, 2),
        ("zero2_offload", {}, 2),
        ("zero3", {}, 3),
    ],
)
def test_a_model_in_fp32_is_whole_on_one_rank_of_a_cpu_and_a_small_one_on_each(
    name: str, changes: dict[str, Any], stage: int
) -> None:
    given = {"parameters": 20_000_000, "precision": "fp32", "device": CPU, "world_size": 2} | changes
    world = replace(WORLD, device=given["device"], world_size=given["world_size"])
    from_file = ds_config.read_ds_config(name)
    resolved = ds_config.resolve_ds_config(
        from_file, precision=given["precision"], max_gradient_norm=1.0, device=given["device"]
    )
    kept = ds_config.keep_model_whole(resolved, from_file, parameters=given["parameters"], world=world)
    assert "asrscale" not in kept and kept["zero_optimization"]["stage"] == stage
    assert (kept == resolved) == (stage > 0)
    of_user = {"zero_optimization": {"stage": 2}}  # without the section nothing is changed
    assert ds_config.keep_model_whole(resolved, of_user, parameters=5, world=world) == resolved


def test_16_bit_sums_gradients_in_fp32_or_is_refused() -> None:
    resolved = ds_config.resolve_ds_config(
        {"zero_optimization": {"stage": 2}}, precision="bf16", max_gradient_norm=1.0, device=CPU
    )
    assert resolved["bf16"]["enabled"] and not resolved["fp16"]["enabled"]
    assert resolved["data_types"] == {"grad_accum_dtype": "fp32"}
    with pytest.raises(CliError, match="ZeRO stage 0 cannot add up bf16 gradients in fp32"):
        ds_config.resolve_ds_config({}, precision="bf16", max_gradient_norm=1.0, device=CPU)


def test_precision_on_a_cpu() -> None:
    assert ds_config.resolve_precision("auto", WORLD) == "fp32"
    assert ds_config.resolve_precision("bf16", WORLD) == "bf16"
    with pytest.raises(CliError, match="needs a GPU"):
        ds_config.resolve_precision("fp16", WORLD)


@pytest.mark.parametrize("name", ["zero2", "zero2.json", "ds_configs/zero2.json"])
def test_a_shipped_configuration_is_found_by_name_from_any_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_ds_config(name) == json.loads((REPOSITORY / "ds_configs" / "zero2.json").read_text())


def test_a_file_of_your_own_wins_over_a_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zero2.json").write_text('{"zero_optimization": {"stage": 1}}')
    assert read_ds_config("zero2.json")["zero_optimization"]["stage"] == 1
    assert read_ds_config("zero2")["zero_optimization"]["stage"] == 2


def test_a_name_that_is_neither_is_refused_with_those_that_are() -> None:
    message = r"--config elsewhere/zero2.json: No such file .*: give a file, or one of zero0, zero1"
    with pytest.raises(CliError, match=message):
        read_ds_config("elsewhere/zero2.json")
