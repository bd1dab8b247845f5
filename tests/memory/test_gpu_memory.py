import pytest
from helpers.planned import cost_of

from asrscale.memory.deepspeed_states import States
from asrscale.memory.gpu_memory import (
    FRAGMENTATION,
    activation_budget_bytes,
    allocated_parts,
    outside_bytes,
    peak_parts,
)
from asrscale.memory.gpus import GIB, find_gpu

STATES = States(weights=100, gradients=200, optimizer=600, buckets=50, backward_bytes=30, step_bytes=40)


def test_more_memory_is_more_room_but_for_fragmentation() -> None:
    room = [activation_budget_bytes(find_gpu(gpu), STATES, 8) for gpu in ("2", "4")]
    assert room[1] - room[0] == pytest.approx(2 * 2**30 / 1.05)


def test_the_budget_is_what_the_rest_leaves() -> None:
    budget_bytes = activation_budget_bytes(find_gpu("2"), STATES, 1)
    held_bytes = (budget_bytes + 950 + 30) * (1 + FRAGMENTATION) + outside_bytes(1)
    assert held_bytes == pytest.approx(2 * GIB)
    assert outside_bytes(2) == outside_bytes(8) > outside_bytes(1)


def test_the_budget_is_negative_where_an_optimizer_step_does_not_fit() -> None:
    states = States(weights=0, gradients=0, optimizer=0, buckets=0, backward_bytes=0, step_bytes=3.0 * GIB)
    assert -2 * GIB < activation_budget_bytes(find_gpu("2"), states, 1) < -1 * GIB


def test_the_peak_of_a_pass_is_activations_loss_and_reduction() -> None:
    parts = allocated_parts(STATES, cost_of([5, 7, 10, 9], weights_bytes=77), 4)
    assert parts == STATES.resident | {"activations": 28, "logits and loss": 12, "reduction": 30}


def test_the_peak_is_an_optimizer_step_where_a_pass_takes_less() -> None:
    assert allocated_parts(STATES, cost_of([1, 1, 2, 2]), 4) == STATES.resident | {"optimizer step": 40}


def test_the_peak_of_a_gpu_is_more_than_what_tensors_hold() -> None:
    cost = cost_of([5, 7, 10, 9])
    parts = peak_parts(STATES, cost, 4, gpu_count=2)
    allocated_bytes = sum(allocated_parts(STATES, cost, 4).values())
    assert parts["fragmentation"] == pytest.approx(0.05 * allocated_bytes)
    assert sum(parts.values()) == pytest.approx(1.05 * allocated_bytes + outside_bytes(2))
