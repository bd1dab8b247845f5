import json
import socket
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from helpers.training import free_port
from torch.distributed import distributed_c10d

from asrscale.common import distributed
from asrscale.common.errors import CliError, TransientError
from asrscale.training import ds_config

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
WORLD = distributed.World(rank=0, local_rank=0, world_size=1, device=CPU)


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
    ],
)
def test_a_configuration_that_would_fight_us_is_refused(content: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(CliError) as caught:
        ds_config.read_ds_config(written(tmp_path, content))
    assert message in str(caught.value) and "ds.json" in str(caught.value)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_the_shipped_configurations_resolve_without_auto(stage: int) -> None:
    config = ds_config.read_ds_config(f"ds_configs/zero{stage}.json")
    for device in (CPU, GPU):
        resolved = ds_config.resolve_ds_config(config, precision="fp32", max_gradient_norm=0.5, device=device)
        assert "auto" not in json.dumps(resolved)
        assert resolved["zero_optimization"]["stage"] == stage and resolved["gradient_clipping"] == 0.5
        overlaps = resolved["zero_optimization"]["overlap_comm"]
        assert overlaps == (device == GPU and stage >= 2)


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


@pytest.mark.parametrize(
    ("rank", "address", "listening"),
    [
        (1, "no-such-host.invalid", False),
        (1, "127.0.0.1", False),  # nobody listens
        (0, "127.0.0.1", False),  # nobody comes
        (0, "127.0.0.1", True),  # another program has the port
    ],
)
def test_ranks_that_cannot_meet_say_so_in_one_line(
    rank: int, address: str, listening: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "MEETING", timedelta(seconds=1))  # a minute
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        if listening:
            other.listen()
        else:
            other.close()
        given = {"RANK": rank, "LOCAL_RANK": 0, "WORLD_SIZE": 2, "MASTER_ADDR": address, "MASTER_PORT": port}
        for name, value in given.items():
            monkeypatch.setenv(name, str(value))
        with (
            pytest.raises(TransientError, match=f"the ranks cannot meet at {address}:{port}") as caught,
            distributed.joined_ranks(),
        ):
            pass
    assert "\n" not in str(caught.value)


def test_a_machine_with_gpus_that_torch_cannot_use_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(distributed.glob, "glob", lambda pattern: ["/dev/nvidia0"])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(CliError, match=r"has NVIDIA devices, but torch .* cannot use them"), distributed.joined_ranks():
        pass


def test_a_gradient_that_is_not_finite_on_one_rank_changes_nothing_on_any(
    run_command: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = run_command("torchrun", "--nproc-per-node", 2, "--master-port", free_port(), "tests/ranks/poisoned_rank.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("skipped alike") == 9


def test_where_a_watch_looks_for_hangs_collectives_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("default_pg_timeout", "default_pg_nccl_timeout"):  # put back after the test
        monkeypatch.setattr(distributed_c10d, name, getattr(distributed_c10d, name))
    torch_default = timedelta(minutes=30)
    for watched, patience in ((False, torch_default), (True, distributed.WATCHED)):
        with distributed.joined_ranks(watched=watched):
            assert torch.distributed.group.WORLD._get_backend(torch.device("cpu")).options._timeout == patience
