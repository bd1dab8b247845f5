"""Run by tests/training/test_engine.py on several ranks: the moving average is its recurrence, at any ZeRO stage.

A run goes from stage to stage by checkpoints. At each step the average is compared with one that NumPy computes from
the whole weights of the steps.
"""

import os
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from asrscale.common import distributed
from asrscale.common.distributed import World
from asrscale.memory.deepspeed_states import FP32_BYTES, deepspeed_states
from asrscale.training import checkpoint, ds_config
from asrscale.training import engine as ds
from asrscale.training.checkpoint import RunState
from asrscale.training.schedule import LearningRates, average_decay_at

DECAY = 0.4  # from the third step on
STEPS = 3  # of each stage
ALIGNMENT = 64  # more elements of a rank than the model has, at most


def new_model() -> nn.Module:
    """A model with sizes that no number of ranks divides, and a layer that is not trained."""
    torch.manual_seed(7)
    model = nn.Sequential(nn.Linear(8, 33), nn.GELU(), nn.Linear(33, 7), nn.Linear(7, 8))
    model[3].requires_grad_(False)
    return model


def resolved(stage: int, precision: ds_config.Precision, offload: bool, world: World) -> dict[str, Any]:
    zero = {"stage": stage, "stage3_param_persistence_threshold": 0}
    zero |= {"offload_optimizer": {"device": "cpu"}} if offload else {}
    return ds_config.resolve_ds_config(
        {"zero_optimization": zero}, precision=precision, max_gradient_norm=1.0, device=world.device
    )


def take_step(engine: ds.Engine, step: int, world: World, rate: float = 0.05) -> None:
    generator = torch.Generator().manual_seed(10 * step + world.rank)
    dtype = next(engine.module.parameters()).dtype
    loss = engine(torch.randn(4, 8, generator=generator).to(dtype)).float().square().mean()
    ds.backward(engine, loss, world)
    ds.take_step(engine, LearningRates(rate, rate))


def started(config: dict[str, Any], saved: Path | None, world: World) -> ds.Engine:
    """An engine as a run starts it: anew, or from a checkpoint."""
    model = new_model()
    if saved is not None:
        model.load_state_dict(load_file(saved / "model.safetensors"))
    engine = ds.initialize(model, config, weight_decay=0.1, adam_beta2=0.9)
    take_step(engine, -1, world, rate=0.0)
    ds.set_adam_steps(engine, of_head=0, below=0)
    ds.start_average(engine)
    if saved is not None:
        checkpoint.restore_engine(engine, saved, world)
    return engine


def check_size(engine: ds.Engine, config: dict[str, Any], world: World) -> None:
    """The average takes what the planner says, and what DeepSpeed adds to make parts equal."""
    planned = deepspeed_states(config["zero_optimization"], new_model(), world.world_size, keeps_average=True)
    kept = sum(state[ds.AVERAGE].numel() for state in engine.basic_optimizer.state.values())
    if not config["zero_optimization"].get("offload_optimizer"):
        assert 0 <= kept - planned.average / FP32_BYTES <= ALIGNMENT, (kept, planned.average)


def run_through(ways: list[tuple[int, ds_config.Precision, bool]], folder: Path, world: World) -> None:
    """Trains at each stage, from the checkpoint of the one before."""
    names = [name for name, weight in new_model().named_parameters() if weight.requires_grad]
    frozen = {name: weight for name, weight in new_model().named_parameters() if not weight.requires_grad}
    expected = {name: weight.detach().numpy().copy() for name, weight in new_model().named_parameters()}
    saved = None
    for number, way in enumerate(ways):
        config = resolved(*way, world)
        engine = started(config, saved, world)
        check_size(engine, config, world)
        if saved is not None and world.is_main:
            before = load_file(saved / "optimizer.safetensors")
        states = ds.gather_moments(engine, world)
        if saved is not None and world.is_main:
            assert all(states[name].equal(before[name]) for name in before), way

        for step in range(number * STEPS, (number + 1) * STEPS):
            take_step(engine, step, world)
            ds.update_average(engine, average_decay_at(step, DECAY))
            weights, states = ds.gather_weights(engine, {}, world), ds.gather_moments(engine, world)
            if not world.is_main:
                continue
            assert {name for name in states if name.startswith(ds.AVERAGE)} == {f"{ds.AVERAGE}/{n}" for n in names}
            decay = min(DECAY, (1 + step) / (10 + step))
            for name in names:
                assert not np.array_equal(weights[name].numpy(), expected[name])
                expected[name] = decay * expected[name] + (1 - decay) * weights[name].numpy()
                np.testing.assert_allclose(states[f"{ds.AVERAGE}/{name}"].numpy(), expected[name], rtol=0, atol=1e-6)

        state = RunState(step=(number + 1) * STEPS)
        assert checkpoint.save_checkpoint(engine, frozen, state, folder, keep=1, world=world) is None
        saved = checkpoint.checkpoint_at(folder, state.step)
        engine.destroy()
    if world.is_main:
        for before_way, way in pairwise(ways):
            print(f"stage {before_way[0]} to {way[0]}: the average is its recurrence", flush=True)


with ds.joined_ranks() as world:
    everything: list[tuple[int, ds_config.Precision, bool]] = [
        (0, "fp32", False), (2, "fp32", False), (3, "fp32", False), (1, "fp32", False), (0, "fp32", False),
    ]  # fmt: skip
    if "all" in sys.argv:
        everything += [
            (1, "bf16", False), (3, "bf16", False), (2, "bf16", False), (2, "bf16", True), (2, "fp32", True),
            (3, "fp32", True), (1, "fp32", False), (3, "bf16", False), (1, "bf16", False),
        ]  # fmt: skip
    shared = distributed.gather_objects(tempfile.mkdtemp(), world)[0]
    run_through(everything, Path(shared), world)
os._exit(0)  # as `cli.run` ends a process, and for the same reason
