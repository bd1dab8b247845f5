"""Run by tests/test_family_commands.py on several ranks: loss curves of models of some kinds at some ZeRO stages.

torchrun … tests/ranks/family_curves.py SHARDS MODELS OUT.json KIND,KIND… STAGE,STAGE…

MODELS has a folder for each kind.
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.contexts import make_context, zero_config

from asrscale.common import distributed
from asrscale.common.distributed import World
from asrscale.data.step_reader import steps_from
from asrscale.training import engine as ds
from asrscale.training.agreed_steps import agree_on_step
from asrscale.training.meter import Meter
from asrscale.training.step import train_step

STEPS = 3


def curve(shards: Path, model: Path, stage: int, world: World) -> dict[str, object]:
    """Losses of a few steps with all that is random, and the sum and norm of each weight after them."""
    rates = dict(dropout=0.1, layerdrop=0.3, mask_time_prob=0.2, mask_feature_prob=0.1)
    context = make_context(
        shards, model=str(model), max_steps=10, warmup_steps=1, freeze_feature_encoder=False, **rates
    )
    context = replace(context, world=world, ds_config=zero_config(stage))
    engine = ds.initialize(context.recognizer.model, context.ds_config, weight_decay=0.01, adam_beta2=0.98)
    engine.train()
    losses: list[float] = []
    ranks = dict(rank=world.rank, world_size=world.world_size)
    for step in steps_from(context.plan, range(STEPS), **ranks, cap_samples=context.cap.samples, threads=1):
        share, _ = train_step(engine, context, step, agree_on_step(step, context.watch, world)[0], Meter())
        losses += distributed.all_reduce_sum([float(share)], world)
    weights = ds.gather_weights(engine, {}, world)
    engine.destroy()
    return {"losses": losses, "weights": {name: (float(w.sum()), float(w.norm())) for name, w in weights.items()}}


def main() -> None:
    shards, models, out = map(Path, sys.argv[1:4])
    with ds.joined_ranks() as world:
        curves = {
            f"{kind} {stage}": curve(shards, models / kind, int(stage), world)
            for kind in sys.argv[4].split(",")
            for stage in sys.argv[5].split(",")
        }
        if world.is_main:
            out.write_text(json.dumps(curves))
    os._exit(0)  # as `cli.run` ends a process, and for the same reason


main()
