from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from helpers.planned import architecture_file, choice, cost_of

from asrscale.memory.choices import CHECKPOINTING, Choice, Duration, cap_of, choose
from asrscale.memory.gpus import GPUS, Slowdown, find_gpu
from asrscale.memory.workload import Workload
from asrscale.training.memory_plan import search, zero_sections
from asrscale.training.plan_options import plan_options


@pytest.mark.parametrize(("architecture", "gpu"), [("large-960h", "6"), ("XLS-R 1B", "24")])
def test_a_way_is_found_on_a_small_card(architecture: str, gpu: str, tmp_path: Path) -> None:
    options = plan_options(model=architecture_file(tmp_path, architecture))
    ways = search(options.run, [5.0], [find_gpu(gpu)], 1)[f"{gpu} GiB"]
    best = ways[0]
    assert best.cap_seconds >= 5 and sum(best.peak_bytes.values()) <= float(gpu) * 2**30
    fitting = [way for way in ways if way.cap_seconds]
    assert best.step_seconds == min(way.step_seconds for way in fitting)
    assert ("offload" in best.config) == (architecture == "large-960h")


def caps(ways: list[Choice]) -> dict[tuple[str, int], float]:
    return {(Path(way.config).stem, way.activation_checkpointing): way.cap_seconds for way in ways}


def test_more_memory_more_gpus_and_every_saver_hold_more(tmp_path: Path) -> None:
    options = plan_options(model=architecture_file(tmp_path, "large-960h"))
    found = search(options.run, [5.0], list(GPUS.values()), 8)
    for ways in found.values():
        cap = caps(ways)
        assert all(cap[name, 1] >= cap[name, 2] >= cap[name, 4] >= cap[name, 0] for name, _ in cap)
        assert cap["zero2_offload", 1] >= cap["zero2", 1] >= cap["zero1", 1]
    assert caps(found["rtx3060-12"])["zero2", 0] < caps(found["a100-40"])["zero2", 0]
    assert caps(found["rtx3050-6"])["zero2", 1] > 0  # eight of them share what one could not hold


@cache  # traces take seconds
def choices_of_tiny(cap_seconds: float, gpu: str = "2", gpu_count: int = 1) -> list[Choice]:
    """All ways to train `tiny` on utterances of up to 20 s, 160 s a step."""
    return choose(
        Workload(model="tiny", dtype=torch.bfloat16, step_seconds=160.0),
        [5.0, 20.0],
        [find_gpu(gpu)],
        gpu_count,
        zero_configs=zero_sections(["ds_configs/zero2.json"], "bf16"),
        checkpointing=CHECKPOINTING,
        cap_seconds=cap_seconds,
    )[f"{gpu} GiB"]


def test_a_wanted_cap_is_kept_to_where_it_fits() -> None:
    assert {way.cap_seconds for way in choices_of_tiny(33.0)} == {33}
    largest = max(way.cap_seconds for way in choices_of_tiny(0.0))
    assert largest > 33
    assert {way.cap_seconds for way in choices_of_tiny(largest + 1)} == {0}
    assert {way.cap_seconds for way in choices_of_tiny(19.0)} == {0}  # too little for the longest utterance


def test_passes_hold_as_much_as_the_cap_and_the_share_of_a_step_allow() -> None:
    assert {way.pass_utterances for way in choices_of_tiny(45.0)} == {2}
    assert {way.pass_utterances for way in choices_of_tiny(0.0)} == {8}
    assert {way.pass_utterances for way in choices_of_tiny(0.0, gpu_count=4)} == {2}
    assert all(way.utterances == {5.0: 9, 20.0: 2} for way in choices_of_tiny(45.0))


def test_what_fits_comes_first_then_what_is_fast() -> None:
    largest = max(way.cap_seconds for way in choices_of_tiny(0.0))
    ways = choices_of_tiny(largest)
    order = [(not way.cap_seconds, way.step_seconds) for way in ways]
    assert order == sorted(order)
    assert {bool(way.cap_seconds) for way in ways} == {True, False}


def test_the_cap_is_that_of_the_length_that_allows_least_in_whole_seconds() -> None:
    costs = [cost_of([1.0, 2.0, 4.0], seconds=5.0), cost_of([10.0, 20.0, 30.0], seconds=20.0)]
    assert cap_of(costs, 100.0) == 66  # 3.33 of 20 s, 25 of 5 s
    assert cap_of(costs, 29.0) == 0
    assert cap_of(costs, 30.0) == 20


def test_a_choice_has_the_flags_that_make_a_run_of_it() -> None:
    way = choice(every=2, cap_seconds=33)
    assert way.flags == "--config ds_configs/zero2.json --activation_checkpointing 2 --memory_cap_seconds 33"
    shown = way.to_dict()
    assert shown["flags"] == way.flags and shown["gpu"]["name"] == "t4-16"
    assert not {"states", "longest"} & shown.keys()


@cache
def step_seconds(stage: int, layerdrop: float, head_only: bool = False) -> tuple[float, float]:
    """Of a step of `tiny`, and of one that trains the head only."""
    [way] = choose(
        Workload(model="tiny", dtype=torch.bfloat16, step_seconds=160.0, layerdrop=layerdrop, head_only=head_only),
        [20.0],
        [find_gpu("2")],
        1,
        zero_configs=zero_sections([f"ds_configs/zero{stage}.json"], "bf16"),
        checkpointing=[0],
    )["2 GiB"]
    return way.step_seconds, way.head_step_seconds


def test_dropped_layers_take_no_time_but_at_zero_3() -> None:
    whole, half, none = (step_seconds(2, rate)[0] for rate in (0.0, 0.45, 0.9))
    assert none < 0.9 * whole and half == pytest.approx((whole + none) / 2)
    assert step_seconds(3, 0.45) == step_seconds(3, 0.0)


def test_steps_of_the_head_take_a_forward_pass() -> None:
    whole, head = step_seconds(2, 0.0)
    assert 0.2 * whole < head < 0.7 * whole
    of_head_alone, _ = step_seconds(2, 0.0, head_only=True)
    assert of_head_alone == pytest.approx(head, rel=0.1)
    way = choice(step_seconds=3.0, head_step_seconds=1.0)
    assert [way.duration(10, freeze_steps).likely_seconds for freeze_steps in (0, 4, 10, 99)] == [30, 22, 10, 10]


def test_a_run_may_be_as_fast_or_as_slow_as_its_card_was_seen_to_be() -> None:
    measured = Slowdown(least=2.0, likely=3.0, most=4.5, source="as measured")
    way = choice(step_seconds=3.0)
    way = replace(way, gpu=replace(way.gpu, slowdown=measured))
    assert way.duration(10, 0) == Duration(least_seconds=20.0, likely_seconds=30.0, most_seconds=45.0)
