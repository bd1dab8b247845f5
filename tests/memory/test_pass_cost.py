import gc
import itertools
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import torch
from deepspeed.runtime.zero.linear import zero3_linear_wrap
from helpers.models import FAMILIES, KINDS
from helpers.passes import (
    SHORT_SLICE_SAMPLES,
    SMALL,
    CpuSemantics,
    masked,
    measure_pass,
    save_memory,
    set_slices,
    sketched,
    weighted,
)
from torch.nn import functional

from asrscale.memory import pass_cost
from asrscale.memory.cuda_kernels import CudaSemantics
from asrscale.memory.pass_cost import PassCost, trace_pass
from asrscale.model import padding
from asrscale.model.forward import count_frames
from asrscale.model.freezing import held_below_head

CASES = list(itertools.product(FAMILIES, ("eager", "sdpa"), (False, True), (False, True)))


@pytest.fixture(autouse=True)
def short_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pass_cost, "SLICE_SAMPLES", SHORT_SLICE_SAMPLES)
    monkeypatch.setattr(padding, "SLICE_SAMPLES", SHORT_SLICE_SAMPLES)


@pytest.fixture(scope="module")
def fresh_process() -> Iterator[ProcessPoolExecutor]:
    """Of a process that has run other tests, a real pass was found to hold 91 kB less, whatever its size."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


def traced_and_real(
    family: str, attention: str, checkpointed: bool, frozen: bool, head_only: bool = False
) -> tuple[list[float], list[float]]:
    """Bytes after the forward pass, and at the peak, of the trace and of a real pass."""
    set_slices(SHORT_SLICE_SAMPLES, SHORT_SLICE_SAMPLES)
    sketch = sketched(SMALL | (FAMILIES | KINDS)[family] | {"num_hidden_layers": 2}, attention, torch.float32)
    real = weighted(sketch, attention, torch.float32)
    ours = masked(real, 0.05)
    traced = masked(sketch, 0.05)
    for recognizer in (real, sketch):
        save_memory(recognizer, frozen=frozen, every=1 if checkpointed else 0)
    utterances, seconds = 3, 1.5

    with ExitStack() as stack:
        for recognizer in (real, sketch) if head_only else ():
            stack.enter_context(held_below_head(recognizer.model))
        cost = trace_pass(sketch, seconds, traced, CpuSemantics())
        measured = measure_pass(real, ours, utterances, seconds)
    timeline = cost.timeline_bytes(utterances)
    # A real pass has more operations: it looks whether anything is padded.
    found = [measured.saved_bytes, measured.peak_bytes]
    predicted = [float(timeline[cost.forward_rows.loss]), float(timeline.max())]
    return predicted, [live_bytes - cost.weights_bytes for live_bytes in found]


@pytest.mark.parametrize(("family", "attention", "checkpointed", "frozen"), CASES)
def test_the_trace_of_a_pass_is_what_a_real_pass_holds(
    family: str, attention: str, checkpointed: bool, frozen: bool, fresh_process: ProcessPoolExecutor
) -> None:
    """On a CPU, within 0.1 %: what the forward pass saves, and the peak."""
    traced, real = fresh_process.submit(traced_and_real, family, attention, checkpointed, frozen).result()
    assert traced == pytest.approx(real, rel=0.001)


@pytest.mark.parametrize("checkpointed", [False, True])
def test_the_trace_of_a_pass_of_the_head_alone_is_what_a_real_one_holds(
    checkpointed: bool, fresh_process: ProcessPoolExecutor
) -> None:
    traced, real = fresh_process.submit(traced_and_real, "layer", "sdpa", checkpointed, True, True).result()
    assert traced == pytest.approx(real, rel=0.001)


# Every second kind with each of what is trained: each kind has a trained and a frozen stem, and is checkpointed or not.
FAMILY_CASES = [
    (kind, "eager" if "wavlm" in kind else "sdpa", number % 2 == 0, frozen)
    for number, kind in enumerate(kind for kind in KINDS if "wav2vec2" not in kind and "unispeech" not in kind)
    for frozen in (False, True)
]


@pytest.mark.parametrize(("kind", "attention", "checkpointed", "frozen"), FAMILY_CASES)
def test_the_trace_of_every_family_is_what_a_real_pass_holds(
    kind: str, attention: str, checkpointed: bool, frozen: bool, fresh_process: ProcessPoolExecutor
) -> None:
    traced, real = fresh_process.submit(traced_and_real, kind, attention, checkpointed, frozen).result()
    assert traced == pytest.approx(real, rel=0.002)


def cuda_cost(seconds: float, *, frozen: bool = False, every: int = 0) -> PassCost:
    """What passes of a small model cost on a GPU in bf16."""
    sketch = sketched(SMALL | FAMILIES["layer"], "sdpa", torch.bfloat16)
    regulariser = masked(sketch)
    save_memory(sketch, frozen=frozen, every=every)
    return trace_pass(sketch, seconds, regulariser, CudaSemantics())


def test_the_budget_is_used_to_the_last_utterance() -> None:
    cost = cuda_cost(3.0)
    peak = float(cost.timeline_bytes(17).max())
    assert cost.max_utterances(peak) == pytest.approx(17)
    assert cost.max_utterances(peak - 1) < 17 < cost.max_utterances(peak + 1)
    assert cost.max_utterances(1.0) == 0


def test_two_batch_sizes_give_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    cost = cuda_cost(3.0)
    monkeypatch.setattr(pass_cost, "FEW_SLICES", 16)
    monkeypatch.setattr(pass_cost, "MANY_SLICES", 17)
    many = cuda_cost(3.0)
    np.testing.assert_allclose(cost.timeline_bytes(17), many.timeline_bytes(17))
    np.testing.assert_allclose(cost.flops.of(17), many.flops.of(17))
    np.testing.assert_allclose(cost.moved_bytes.of(17), many.moved_bytes.of(17))


def test_checkpointing_and_a_frozen_stem_save_memory() -> None:
    settings = ((False, 0), (True, 0), (True, 2), (True, 1))
    costs = [cuda_cost(5.0, frozen=frozen, every=every) for frozen, every in settings]
    peaks = [float(cost.timeline_bytes(40).max()) for cost in costs]
    assert peaks[0] > 1.5 * peaks[1] and peaks[1] > 1.2 * peaks[2] > 1.44 * peaks[3]


def test_no_gradient_is_left_after_a_pass() -> None:
    sketch = sketched(SMALL | FAMILIES["layer"], "sdpa", torch.bfloat16)
    trace_pass(sketch, 1.0, masked(sketch), CudaSemantics())
    assert all(parameter.grad is None for parameter in sketch.model.parameters())


class Litter:
    """An object that only the garbage collector finds, and whose finaliser runs operations, as an engine's does."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        torch.empty(3, device="meta").add(1)


def test_what_else_is_in_the_process_changes_no_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    sketch = sketched(SMALL | FAMILIES["group"], "sdpa", torch.float32)
    regulariser = masked(sketch, 0.05)

    def cost() -> PassCost:
        return trace_pass(sketch, 1.5, regulariser, CudaSemantics())

    alone = cost()
    monkeypatch.setattr(functional, "linear", zero3_linear_wrap)  # ZeRO-3 replaces it for good
    frames = count_frames

    def littering(*arguments: Any) -> Any:
        Litter()
        [[] for _ in range(100)]  # more objects than the threshold below: the collector runs where it may
        return frames(*arguments)

    monkeypatch.setattr(pass_cost, "count_frames", littering)
    thresholds = gc.get_threshold()
    gc.set_threshold(10, 1, 1)
    try:
        among_others = cost()
    finally:
        gc.set_threshold(*thresholds)
    assert functional.linear is zero3_linear_wrap
    np.testing.assert_array_equal(alone.live_bytes.slope, among_others.live_bytes.slope)
    np.testing.assert_array_equal(alone.live_bytes.base, among_others.live_bytes.base)
