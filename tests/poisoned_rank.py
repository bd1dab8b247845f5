"""Run by tests/test_engine.py on several ranks: a gradient that is not finite on the last rank changes nothing."""

import math

import torch
from torch import nn

from asrscale import engine as ds
from asrscale.engine import World


def states(stage: int, precision: ds.Precision, steps: list[int], world: World) -> dict[str, torch.Tensor]:
    """Weights and moments after some steps; in step 1 the last rank's second pass has no finite gradient."""
    torch.manual_seed(7)
    model = nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8))
    config = {"zero_optimization": {"stage": stage, "stage3_param_persistence_threshold": 0}}
    resolved = ds.resolve_ds_config(config, precision=precision, max_gradient_norm=1.0, device=world.device)
    engine = ds.initialize(model, resolved, weight_decay=0.1, adam_beta2=0.9)
    dtype = next(engine.module.parameters()).dtype
    for step in steps:
        for number in range(2):
            generator = torch.Generator().manual_seed(100 * step + 10 * number + world.rank)
            loss = engine(torch.randn(4, 8, generator=generator).to(dtype)).float().square().mean()
            poisoned = step == 1 and number == 1 and world.rank == world.world_size - 1
            ds.backward(engine, loss * math.nan if poisoned else loss, world)
        norm = ds.take_step(engine, 0.01)
        assert math.isfinite(norm) == (step != 1), (stage, precision, step, norm)
    gathered = ds.gather_weights(engine, {}, world) | ds.gather_moments(engine, world)
    engine.destroy()
    return gathered


with ds.joined_ranks() as world:
    for stage, precision in ((0, "fp32"), (1, "fp32"), (2, "fp32"), (3, "fp32"), (1, "bf16"), (2, "bf16"), (3, "bf16")):
        expected, found = (states(stage, precision, steps, world) for steps in ([0, 2], [0, 1, 1, 2]))
        assert expected.keys() == found.keys() and len(found) == (13 if world.is_main else 0)
        assert all(expected[name].equal(found[name]) for name in found), (stage, precision)
        if world.is_main:
            assert int(found["adam_steps"]) == 2
            print(f"stage {stage} {precision}: skipped alike")
