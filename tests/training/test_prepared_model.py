"""A model as a run trains it."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.contexts import zero_config
from helpers.training import launch, metric, short, zero_file

from asrscale.common.distributed import World
from asrscale.common.errors import CliError
from asrscale.training.config import train_config
from asrscale.training.prepared_model import check_compiling

Run = Callable[..., subprocess.CompletedProcess[str]]
WORLD = World(rank=0, local_rank=0, world_size=1, device=torch.device("cpu"))


def test_compiled_layers_are_announced_and_refused_at_stage_3(capsys: pytest.CaptureFixture[str]) -> None:
    config = train_config(train=(), valid=(), compile_layers=True)
    check_compiling(config, zero_config(2), WORLD)
    assert "memory is planned, and time estimated, as of layers that are not compiled" in capsys.readouterr().err
    with pytest.raises(CliError, match=r"ZeRO stage 3 .*: give --config ds_configs/zero2.json"):
        check_compiling(config, zero_config(3), WORLD)
    check_compiling(train_config(train=(), valid=()), zero_config(3), WORLD)
    assert not capsys.readouterr().err


@pytest.mark.slow
def test_a_run_with_compiled_layers_has_the_losses_of_one_without(
    tone_shards: Path, tmp_path: Path, run_command: Run
) -> None:
    losses = []
    for name, flags in {"eager": [], "compiled": ["--compile_layers", "true"]}.items():
        words = [*short(zero_file(2, tmp_path)), "--activation_checkpointing", 1, *flags]
        done = run_command(*launch(2, tone_shards, tmp_path / name, *words))
        assert done.returncode == 0, done.stdout + done.stderr
        losses.append(metric(tmp_path / name, "train/loss"))
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
