import itertools

import numpy as np
import pytest
import torch
from helpers.models import FAMILIES
from helpers.passes import SMALL, masked, save_memory, sketched

from asrscale.memory.cuda_kernels import CudaSemantics
from asrscale.memory.gpus import GPUS
from asrscale.memory.pass_cost import ForwardRows, LinearCost, PassCost, trace_pass
from asrscale.memory.timing import LAUNCH_SECONDS, operation_seconds, transfer_seconds
from asrscale.model.building import build_meta_recognizer

A100 = GPUS["a100-40"]


def cuda_cost(seconds: float, *, frozen: bool = False, every: int = 0) -> PassCost:
    """What passes of a small model cost on a GPU in bf16."""
    sketch = sketched(SMALL | FAMILIES["layer"], "sdpa", torch.bfloat16)
    regulariser = masked(sketch)
    save_memory(sketch, frozen=frozen, every=every)
    return trace_pass(sketch, seconds, regulariser, CudaSemantics())


def test_twice_the_utterances_take_nearly_twice_the_time() -> None:
    cost = cuda_cost(3.0)
    few, many = (operation_seconds(cost, utterances, GPUS["rtx3050-6"]).sum() for utterances in (170, 340))
    assert many > 1.9 * few


def test_a_frozen_stem_saves_time_and_checkpointing_costs_it() -> None:
    settings = ((False, 0), (True, 0), (True, 2), (True, 1))
    costs = [cuda_cost(5.0, frozen=frozen, every=every) for frozen, every in settings]
    times = [operation_seconds(cost, 40, GPUS["rtx3050-6"]).sum() for cost in costs]
    assert times[0] > times[1] < times[2] < times[3]


def test_an_operation_is_bound_by_arithmetic_memory_or_its_launch() -> None:
    per_utterance = {"flops": [1e12, 0.0, 0.0, 0.0], "moved": [1e6, 1e9, 1.0, 0.0]}
    nothing = np.zeros(4)
    cost = PassCost(
        seconds=1.0,
        weights_bytes=0,
        live_bytes=LinearCost(base=nothing, slope=nothing),
        flops=LinearCost(base=nothing, slope=np.array(per_utterance["flops"])),
        moved_bytes=LinearCost(base=nothing, slope=np.array(per_utterance["moved"])),
        forward_rows=ForwardRows(logits=1, loss=2),
    )
    seconds = operation_seconds(cost, 2, A100) / A100.slowdown.likely
    assert seconds == pytest.approx([2e12 / (0.7 * 312e12), 2e9 / (0.8 * 1555e9), LAUNCH_SECONDS, 0.0])


def waiting(
    stage: int, gpu_count: int, passes: int = 4, *, offload: bool = False, keeps_average: bool = False
) -> float:
    """Seconds that a step of `tiny` waits."""
    zero = {"stage": stage} | ({"offload_optimizer": {"device": "cpu"}} if offload else {})
    recognizer = build_meta_recognizer("tiny", dtype=torch.bfloat16)
    return transfer_seconds(recognizer, zero, A100, gpu_count=gpu_count, passes=passes, keeps_average=keeps_average)


def test_a_gpu_alone_waits_for_its_optimizer_only() -> None:
    assert len({waiting(stage, 1) for stage in range(4)}) == 1
    parameters = sum(p.numel() for p in build_meta_recognizer("tiny", dtype=torch.bfloat16).model.parameters())
    assert waiting(2, 1) == pytest.approx(7 * 4 * parameters / (0.8 * 1555e9))
    assert waiting(2, 1, keeps_average=True) == pytest.approx(10 * 4 * parameters / (0.8 * 1555e9))
    assert waiting(2, 1, offload=True) == pytest.approx((2 + 4 + 7 * 4) * parameters / 12e9)


def test_each_stage_of_zero_sends_more_where_a_step_has_many_passes() -> None:
    seconds = [waiting(stage, 8) for stage in range(4)]
    assert all(less < more for less, more in itertools.pairwise(seconds))
    assert waiting(1, 8, passes=1) == waiting(1, 8, passes=9)
    assert waiting(2, 8, passes=1) < waiting(2, 8, passes=9)
