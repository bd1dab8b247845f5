"""Run by tests/test_equal_ranks.py on several ranks: loss curves and first gradients at every ZeRO stage and
memory cap, and where the optimizer and the weights are offloaded to the host.

torchrun … tests/ranks/loss_curves.py SHARDS STEPS OUT.json [plain]

With `plain`, only that of stage 0 with whole units, which the others are compared with.
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.contexts import make_context, zero_config

from asrscale.common import distributed
from asrscale.common.distributed import World
from asrscale.data.step_reader import steps_from
from asrscale.speech.pcm import SAMPLE_RATE_HZ
from asrscale.training import engine as ds
from asrscale.training.agreed_steps import agree_on_step
from asrscale.training.meter import Meter
from asrscale.training.step import train_step

BATCH_SECONDS, UNITS_PER_STEP = 6.0, 2


def curve(shards: Path, steps: int, zero: dict[str, object], pieces: int, world: World) -> dict[str, object]:
    """Losses of `steps` steps whose units are cut in `pieces`, and two numbers of each parameter's first gradient.

    These are its norm and its product with a random vector.
    """
    context = make_context(
        shards,
        max_steps=100,
        warmup_steps=10,
        batch_seconds=BATCH_SECONDS,
        units_per_step=UNITS_PER_STEP,
        memory_cap_seconds=10**6,
        dropout=0.1,
        layerdrop=0.3,
    )
    context = replace(context, world=world, ds_config=zero_config(**zero))
    plan = context.plan
    recognizer = context.recognizer
    engine = ds.initialize(recognizer.model, context.ds_config, weight_decay=0.01, adam_beta2=0.98)
    engine.train()
    cap = max(int(BATCH_SECONDS * SAMPLE_RATE_HZ * 1.02 / pieces), int(plan.catalog.longest_samples.max()))
    losses: list[float] = []
    gradients: dict[str, tuple[float, float]] = {}
    for step in steps_from(plan, range(steps), rank=world.rank, world_size=world.world_size,
                           cap_samples=cap, threads=1):  # fmt: skip
        share, _ = train_step(engine, context, step, agree_on_step(step, context.watch, world)[0], Meter())
        losses += distributed.all_reduce_sum([float(share)], world)
        if step.number == 0:  # the first moment is a tenth of the first gradient
            for name, moment in ds.gather_moments(engine, world).items():
                if name.startswith("exp_avg/"):
                    other = torch.randn(moment.shape, generator=torch.Generator().manual_seed(0))
                    gradients[name] = float(moment.norm()), float((moment * other).sum())
    engine.destroy()
    return {"losses": losses, "gradients": gradients}


def all_curves(shards: Path, steps: int, world: World) -> dict[str, object]:
    """Returns the curve of each stage, cut and offload, by its name."""
    curves: dict[str, object] = {
        f"stage {stage}, unit in {pieces}": curve(shards, steps, {"stage": stage}, pieces, world)
        for stage in (0, 1, 2, 3)
        for pieces in (1, 2, 4)
    }
    host = {"device": "cpu"}
    for zero in (
        {"stage": 2, "offload_optimizer": host},
        {"stage": 3, "offload_optimizer": host, "offload_param": host},
    ):
        curves[f"stage {zero['stage']} offloaded"] = curve(shards, steps, zero, 2, world)
    return curves


shards, steps, out = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
with ds.joined_ranks() as world:
    if "plain" in sys.argv[4:]:
        curves = {"stage 0, unit in 1": curve(shards, steps, {"stage": 0}, 1, world)}
    else:
        curves = all_curves(shards, steps, world)
    if world.is_main:
        out.write_text(json.dumps(curves))
os._exit(0)  # as `cli.run` ends a process, and for the same reason
