"""Run by tests/training/test_engine.py on several ranks: a gradient that is not finite on one rank changes nothing."""

import math
import os

import torch
from torch import nn

from asrscale.common.distributed import World
from asrscale.training import ds_config
from asrscale.training import engine as ds
from asrscale.training.schedule import LearningRates


def states(
    stage: int, precision: ds_config.Precision, offload: bool, steps: list[int], world: World
) -> dict[str, torch.Tensor]:
    """Weights and moments after some steps; in step 1 the last rank's second pass has no finite gradient."""
    torch.manual_seed(7)
    model = nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8))
    zero = {"stage": stage, "stage3_param_persistence_threshold": 0}
    zero |= {"offload_optimizer": {"device": "cpu"}} if offload else {}
    resolved = ds_config.resolve_ds_config(
        {"zero_optimization": zero}, precision=precision, max_gradient_norm=1.0, device=world.device
    )
    engine = ds.initialize(model, resolved, weight_decay=0.1, adam_beta2=0.9)
    dtype = next(engine.module.parameters()).dtype
    for step in steps:
        for number in range(2):
            generator = torch.Generator().manual_seed(100 * step + 10 * number + world.rank)
            loss = engine(torch.randn(4, 8, generator=generator).to(dtype)).float().square().mean()
            poisoned = step == 1 and number == 1 and world.rank == world.world_size - 1
            ds.backward(engine, loss * math.nan if poisoned else loss, world)
        norm = ds.take_step(engine, LearningRates(0.01, 0.01))
        assert math.isfinite(norm) == (step != 1), (stage, precision, step, norm)
    gathered = ds.gather_weights(engine, {}, world) | ds.gather_moments(engine, world)
    engine.destroy()
    return gathered


with ds.joined_ranks() as world:
    ways = [(stage, "fp32", False) for stage in range(4)] + [(stage, "bf16", False) for stage in (1, 2, 3)]
    for way in [*ways, (2, "fp32", True), (2, "bf16", True)]:
        expected, found = (states(*way, steps, world) for steps in ([0, 2], [0, 1, 1, 2]))
        assert expected.keys() == found.keys() and len(found) == (14 if world.is_main else 0)
        assert all(expected[name].equal(found[name]) for name in found), way
        if world.is_main:
            assert int(found["adam_steps_below"]) == 2
            print(f"stage {way[0]} {way[1]}: skipped alike", flush=True)
os._exit(0)  # as `cli.run` ends a process, and for the same reason
