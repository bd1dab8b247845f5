import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
from helpers.training import free_port
from safetensors.torch import load_file

from asrscale.common.distributed import World
from asrscale.training import checkpoint, ds_config
from asrscale.training import engine as ds
from asrscale.training.checkpoint import RunState
from asrscale.training.schedule import LearningRates


def test_a_gradient_that_is_not_finite_on_one_rank_changes_nothing_on_any(
    run_command: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = run_command("torchrun", "--nproc-per-node", 2, "--master-port", free_port(), "tests/ranks/poisoned_rank.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("skipped alike") == 9


def test_the_loss_scale_of_fp16_goes_on_where_it_was(world: World) -> None:
    def optimizer(scale: int) -> SimpleNamespace:
        return SimpleNamespace(
            loss_scaler=DynamicLossScaler(scale, 3, 1, delayed_shift=2, consecutive_hysteresis=False)
        )

    def scales(scaler: DynamicLossScaler, overflows: str) -> list[float]:
        found = []
        for overflow in overflows:
            scaler.update_scale(overflow == "x")
            found.append(scaler.cur_scale)
        return found

    undisturbed, before, resumed = optimizer(2**16), optimizer(2**16), optimizer(4)
    expected = scales(undisturbed.loss_scaler, "xx..x....x.......")
    found = scales(before.loss_scaler, "xx..x...")
    ds.restore_scaler(resumed, ds.scaler_state(before))
    assert found + scales(resumed.loss_scaler, ".x.......") == expected
    assert vars(resumed.loss_scaler) == vars(undisturbed.loss_scaler)
    fp32 = SimpleNamespace(loss_scaler=LossScaler(1))
    ds.restore_scaler(fp32, ds.scaler_state(before))  # resumed in another precision
    assert fp32.loss_scaler.cur_scale == 1 and ds.scaler_state(fp32) == {}


@pytest.mark.parametrize(
    ("ranks", "ways"),
    [(2, ""), pytest.param(1, "all", marks=pytest.mark.slow), pytest.param(3, "all", marks=pytest.mark.slow)],
)
def test_a_moving_average_is_its_recurrence_and_goes_from_stage_to_stage(
    ranks: int, ways: str, run_command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    script = ["tests/ranks/moving_average.py", ways]
    done = run_command("torchrun", "--nproc-per-node", ranks, "--master-port", free_port(), *script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the average is its recurrence") == (13 if ways else 4)


@pytest.mark.parametrize("stage", [2, 3])
def test_an_engine_that_offloads_to_the_cpu_is_gathered_and_restored(stage: int, world: World, tmp_path: Path) -> None:
    offload = {"device": "cpu"}
    zero = {"stage": stage, "offload_optimizer": offload, "stage3_param_persistence_threshold": 0}
    if stage == 3:
        zero["offload_param"] = offload
    config = ds_config.resolve_ds_config(
        {"zero_optimization": zero}, precision="fp32", max_gradient_norm=1.0, device=world.device
    )

    def made(weights: dict[str, torch.Tensor]) -> ds.Engine:
        model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.GELU(), torch.nn.Linear(16, 4))
        model.load_state_dict(weights, strict=bool(weights))
        return ds.initialize(model, config, weight_decay=0.1, adam_beta2=0.9)

    def step(engine: ds.Engine, rate: float = 0.01) -> None:
        ds.backward(engine, engine(torch.linspace(-1, 1, 32).view(4, 8)).square().mean(), world)
        ds.take_step(engine, LearningRates(rate, rate))

    def everything(engine: ds.Engine) -> dict[str, torch.Tensor]:
        return ds.gather_weights(engine, {}, world) | ds.gather_moments(engine, world)

    first = made({})
    step(first)
    checkpoint.save_checkpoint(first, {}, RunState(step=1), tmp_path, keep=1, world=world)
    saved = tmp_path / "checkpoints" / "step-00000001"
    second = made(load_file(saved / "model.safetensors"))
    step(second, 0.0)  # makes the moments
    checkpoint.restore_engine(second, saved, world)
    for engine in (first, second):
        step(engine)
    ours, theirs = everything(first), everything(second)
    assert len(ours) == 14 and all(ours[name].equal(theirs[name]) for name in ours)
