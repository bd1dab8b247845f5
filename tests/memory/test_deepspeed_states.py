from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from asrscale.memory.deepspeed_states import States, deepspeed_states
from asrscale.model.building import build_meta_recognizer
from asrscale.model.lora import add_lora
from asrscale.training.ds_config import read_ds_config


def zero_section(name: str) -> dict[str, Any]:
    return read_ds_config(f"ds_configs/{name}.json")["zero_optimization"]


def test_states_shrink_with_stage_and_ranks() -> None:
    model = build_meta_recognizer("tiny", dtype=torch.bfloat16).model
    residents = [deepspeed_states(zero_section(f"zero{stage}"), model, 8) for stage in (1, 2, 3)]
    parameters = sum(p.numel() for p in model.parameters())
    assert [round(states.weights / parameters, 3) for states in residents] == [2, 2, 0.25]
    assert [states.gradients / parameters for states in residents] == [4, 0.5, 0.5]
    assert {states.optimizer / parameters for states in residents} == {1.5}


def test_zero3_copies_no_more_gradients_at_a_time_than_a_sub_group() -> None:
    model = build_meta_recognizer("tiny", dtype=torch.bfloat16).model
    zero = zero_section("zero3")
    sizes = [p.numel() for p in model.parameters()]
    small, whole = (deepspeed_states(zero | {"sub_group_size": n}, model, 1).step_bytes for n in (1000, 10**9))
    assert (small, whole) == (4 * (1000 + max(sizes)), 4 * sum(sizes))


def test_lora_needs_a_fraction_of_gradients_and_moments() -> None:
    model = build_meta_recognizer("tiny", dtype=torch.bfloat16).model
    parameters = sum(p.numel() for p in model.parameters())
    with torch.device("meta"):
        add_lora(model, 4)
    model.to(torch.bfloat16)
    states = deepspeed_states(zero_section("zero2"), model, 1)
    assert states.optimizer + states.gradients < 0.2 * 16 * parameters


# A model of P parameters, of which T are trained, the largest of them l; w ranks and buckets of b.
P, T, l, w, b = 1700, 700, 400, 2, 500  # noqa: E741
OFFLOAD = {"offload_optimizer": {"device": "cpu"}}


def model_of(dtype: torch.dtype) -> nn.Module:
    sizes = {"frozen": P - T, "trained": T - l, "largest": l}
    model = nn.Module()
    for name, size in sizes.items():
        weight = torch.empty(size, dtype=dtype, device="meta")
        model.register_parameter(name, nn.Parameter(weight, requires_grad=name != "frozen"))
    return model


@pytest.mark.parametrize(
    ("zero", "expected"),
    [
        ({"stage": 1}, States(2 * P, 4 * T, 12 * T / w, 0, 2 * T, 6 * T)),
        ({"stage": 2}, States(2 * P, 4 * T / w, 12 * T / w, 2 * b, 6 * b, 8 * l)),
        ({"stage": 2, "overlap_comm": True}, States(2 * P, 4 * T / w, 12 * T / w, 4 * b, 6 * b, 8 * l)),
        ({"stage": 2} | OFFLOAD, States(2 * P, 4 * T / w, 0, 2 * b + 2 * l, 6 * b, 8 * l)),
        ({"stage": 3}, States(2 * P / w, 4 * T / w, 12 * T / w, 4 * b, 2 * P + 6 * b, 4 * T / w)),
    ],
)
def test_the_formulas_in_16_bits_are_those_of_the_documentation(zero: dict[str, Any], expected: States) -> None:
    assert deepspeed_states(zero | {"reduce_bucket_size": b}, model_of(torch.bfloat16), w) == expected


@pytest.mark.parametrize(
    ("zero", "expected"),
    [
        ({"stage": 0}, States(4 * P, 4 * T, 8 * T, 0, 0, 0)),
        ({"stage": 1}, States(4 * P, 0, 12 * T / w, 0, 4 * T + 4 * b, 4 * T + 4 * T / w)),
        ({"stage": 2}, States(4 * P, 4 * T / w, 12 * T / w, 4 * b, 4 * b + 4 * T / w, 4 * T / w)),
        ({"stage": 2} | OFFLOAD, States(4 * P, 0, 0, 4 * b + 4 * l, 4 * b, 8 * l)),
        ({"stage": 3}, States(4 * P / w, 4 * T / w, 12 * T / w, 4 * b, 4 * P + 4 * b, 4 * T / w)),
    ],
)
def test_the_formulas_in_fp32(zero: dict[str, Any], expected: States) -> None:
    assert deepspeed_states(zero | {"reduce_bucket_size": b}, model_of(torch.float32), w) == expected


def test_a_bucket_is_reduced_with_a_parameter_that_is_larger_but_not_with_more_than_all() -> None:
    model = model_of(torch.bfloat16)
    small, huge = (deepspeed_states({"stage": 2, "reduce_bucket_size": size}, model, w) for size in (10, 10**9))
    assert (small.backward_bytes, huge.backward_bytes) == (6 * l, 6 * T)


def test_zero3_gathers_no_more_than_the_live_parameters_and_nothing_on_one_gpu() -> None:
    zero = {"stage": 3, "reduce_bucket_size": b, "stage3_max_live_parameters": 300}
    assert deepspeed_states(zero, model_of(torch.bfloat16), w).backward_bytes == 2 * (300 + l) + 6 * b
    assert deepspeed_states(zero, model_of(torch.bfloat16), 1).backward_bytes == 2 * b + 6 * b


def test_what_is_resident_has_names() -> None:
    states = deepspeed_states({"stage": 2, "reduce_bucket_size": b}, model_of(torch.bfloat16), w)
    assert states.resident == {
        "weights": 2 * P,
        "gradients": 4 * T / w,
        "optimizer": 12 * T / w,
        "buckets": 2 * b,
    }


@pytest.mark.parametrize(
    ("zero", "kept"), [({"stage": 0}, T), ({"stage": 1}, T / w), ({"stage": 2}, T / w), ({"stage": 3}, T / w)]
)
def test_a_moving_average_is_kept_in_fp32_where_the_moments_are(zero: dict[str, Any], kept: float) -> None:
    model = model_of(torch.float32)
    without = deepspeed_states(zero, model, w)
    states = deepspeed_states(zero, model, w, keeps_average=True)
    assert states == replace(without, average=4 * kept)
    assert states.resident == without.resident | {"moving average": 4 * kept}


def test_a_moving_average_of_an_optimizer_on_the_host_takes_nothing_of_the_gpu() -> None:
    zero = {"stage": 2} | OFFLOAD
    model = model_of(torch.bfloat16)
    assert deepspeed_states(zero, model, w, keeps_average=True) == deepspeed_states(zero, model, w)
