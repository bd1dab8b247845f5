"""Whole steps of training on a device that there is not: how often the host waits for it."""

import importlib
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.contexts import make_context, step_of
from helpers.failing_passes import failing_once
from helpers.stand_in import WITH_BACKWARD, OnDevice, StandIn, send, stand_in
from torch import Tensor, nn

from asrscale.common.distributed import World
from asrscale.data.hashing import NO_IDS
from asrscale.training import engine as ds
from asrscale.training.flat_gradients import add_up_and_clip, attach_flat_gradients, clear
from asrscale.training.meter import Meter
from asrscale.training.optimizer import build_optimizer
from asrscale.training.run_context import RunContext
from asrscale.training.step import rehearse, train_step

PASSES = [np.array([4, 7, 9]), np.array([11, 30]), NO_IDS]  # the last is an empty pass
READS_OF_A_STEP = ["_local_scalar_dense"]  # the norm of the gradient


class StageZero(nn.Module):
    """What a step calls of DeepSpeed's engine at stage 0, by torch alone; DeepSpeed itself asks CUDA for streams."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.module = model
        self.optimizer = self.basic_optimizer = build_optimizer(model, weight_decay=0.1, adam_beta2=0.98)
        self.forward = model.forward
        self.device = next(model.parameters()).device
        self.gradients = attach_flat_gradients(one for one in model.parameters() if one.requires_grad)

    def backward(self, loss: Tensor, *, scale_wrt_gas: bool) -> None:
        loss.backward()

    def step(self) -> None:
        self.norm = add_up_and_clip(self.gradients, 1.0, world_size=1)
        self.optimizer.step()
        clear(self.gradients)

    def get_global_grad_norm(self) -> float:
        return self.norm

    def zero_optimization_stage(self) -> int:
        return 0


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    optimizers = importlib.import_module("torch.optim.optimizer")
    fused = optimizers._get_fused_kernels_supported_devices()
    monkeypatch.setattr(optimizers, "_get_fused_kernels_supported_devices", lambda: [*fused, WITH_BACKWARD.type])
    with stand_in(monkeypatch, WITH_BACKWARD) as mode:
        yield mode


def context_on(device: torch.device, shards: Path, folder: Path) -> RunContext:
    random = dict(dropout=0.1, mask_time_prob=0.3, mask_feature_prob=0.3, layerdrop=0.3)
    own = make_context(shards, warmup_steps=0, freeze_steps=1, ema=0.9, memory_cap_seconds=6.0, **random)
    if device == WITH_BACKWARD:
        send(own.recognizer.model, device)
    world = World(rank=0, local_rank=0, world_size=1, device=device)
    return replace(own, world=world, folder=folder, cap=replace(own.cap, path=folder / "rescues.jsonl"))


def state_after(own: RunContext, reads: list[str] | None = None) -> dict[str, Tensor]:
    """Losses, weights, moments and averages after the rehearsal and two steps, of the head and of all weights.

    Where `reads` is given, what the host reads: it is emptied before each step.
    """
    engine: Any = StageZero(own.recognizer.model)
    rehearse(engine, own)
    ds.start_average(engine)
    found: dict[str, Tensor] = {}
    for number in (0, 1):
        if reads is not None:
            assert reads == READS_OF_A_STEP
            reads.clear()
        step = replace(step_of(own, PASSES, 5), number=number)
        found[f"loss {number}"], norm = train_step(engine, own, step, 5, Meter())
        assert norm is not None and math.isfinite(norm)
    for name, parameter in own.recognizer.model.named_parameters():
        states = engine.basic_optimizer.state.get(parameter, {})
        found |= {name: parameter.detach()} | {f"{name} {kind}": value for kind, value in states.items()}
    return {name: value.held if isinstance(value, OnDevice) else value for name, value in found.items()}


@pytest.mark.parametrize("fails", ["never", "backward", pytest.param("forward", marks=pytest.mark.slow)])
def test_a_step_asks_for_its_norm_alone_twice_where_memory_ran_out(
    fails: str, tone_shards: Path, tmp_path: Path, device: StandIn
) -> None:
    expected = state_after(context_on(torch.device("cpu"), tone_shards, tmp_path))
    own = context_on(WITH_BACKWARD, tone_shards, tmp_path)
    device.waits.clear()
    fifth_pass = 0 if fails == "never" else 5  # the rehearsal has one, a step three: the first of the second step
    with failing_once("forward" if fails == "never" else fails, 100, fifth_pass):
        found = state_after(own, device.reads)
    assert own.cap.rescues == bool(fifth_pass) and device.waits == []
    assert device.reads == READS_OF_A_STEP * (2 if fifth_pass else 1)
    assert found.keys() == expected.keys() and any("weight_average" in name for name in found)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=5e-5, rtol=1e-3, msg=name)
